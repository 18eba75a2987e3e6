import { StrictMode, Suspense, version } from 'react'
import { renderToString } from 'react-dom/server'
import { App } from './app.jsx'
import { Provider, useSuspenseLive } from './hooks.js'

export { version }
export const render = (initial) => renderToString(<StrictMode><App initial={initial} /></StrictMode>)

const Unknown = () => useSuspenseLive('unknown').value
/** A value that the server did not load: the fallback. */
export const renderUnknown = () => renderToString(<Provider><Suspense fallback='waiting'><Unknown /></Suspense></Provider>)
