import { StrictMode } from 'react'
import { createRoot, hydrateRoot } from 'react-dom/client'
import { LiveClient } from 'datasole/client'
import { App } from './app.jsx'
import { cases } from './cases.jsx'
import { lab } from './lab.js'

const root = document.getElementById('root')
const name = new URLSearchParams(window.location.search).get('case')
const options = { reconnectInterval: 10, onError: (error) => { lab.errors.push(error.code) } }
const mount = (children) => {
  lab.root = createRoot(root, { onUncaughtError: () => {}, onCaughtError: () => {} })
  lab.root.render(<StrictMode>{children}</StrictMode>)
}

if (name === 'server') {
  const onRecoverableError = (error) => { lab.errors.push(error.message) }
  hydrateRoot(root, <StrictMode><App options={options} initial={window.initial} /></StrictMode>, { onRecoverableError })
} else if (name === 'own') {
  // a client of the application's, which the Provider neither connects nor disconnects
  const client = lab.client = new LiveClient(options)
  const Own = cases.own
  mount(<Own client={client} />)
} else {
  const Case = cases[name]
  mount(<Case options={options} />)
}
