import { showConnection } from './connection-view.js'
import { showConnections } from './connections-view.js'
import { h, setText } from './dom.js'
import { showKey } from './key-view.js'
import { showKeys } from './keys-view.js'
import { showMethods } from './methods-view.js'
import { showOverview } from './overview-view.js'
import { type ShowView, addressOf } from './page-view.js'
import { ServerLink } from './server-link.js'

const VIEWS = [['overview', 'Overview'], ['connections', 'Connections'], ['keys', 'Keys'], ['methods', 'Methods']] as const

const STATES: Record<string, string> = { connected: 'Live', connecting: 'Connecting', reconnecting: 'Reconnecting: the page shows old data', disconnected: 'Disconnected: reload the page' }

const main = document.getElementById('main')!
const status = document.getElementById('connection')!
const banner = document.getElementById('notice')!
const links = VIEWS.map(([name, title]) => h('a', { href: addressOf(name) }, title))
document.getElementById('views')!.append(...links)

let end: (() => void) | undefined
let mayAct: boolean | undefined

const link = new ServerLink((state, failure) => {
  status.dataset.state = state
  setText(status, STATES[state] ?? state)
  main.classList.toggle('is-stale', state === 'reconnecting' || state === 'disconnected')
  if (state === 'disconnected') notice(failure)
  if (state !== 'connected' || mayAct === link.mayAct) return
  mayAct = link.mayAct
  show()
})

function notice (text: string | undefined): void {
  banner.hidden = text === undefined
  setText(banner, text ?? '')
}

/** The view for an address: the first part of its path, and the rest. */
function viewOf (name: string, path: string[]): ShowView {
  if (name === 'connections') return path.length > 0 ? showConnection : showConnections
  if (name === 'keys') return path.length === 3 ? showKey : showKeys
  return name === 'methods' ? showMethods : showOverview
}

function decode (part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part // the user has typed an invalid address
  }
}

function show (): void {
  const [name = '', ...path] = location.hash.slice(2).split('/').map(decode)
  // `keys/filter/TEXT` is a table with a filter
  const filter = path[0] === 'filter' ? path[1] ?? '' : ''
  end?.()
  notice(undefined)
  main.replaceChildren()
  VIEWS.forEach(([view], i) => {
    if (view === name || (i === 0 && !VIEWS.some(([each]) => each === name))) links[i]!.setAttribute('aria-current', 'page')
    else links[i]!.removeAttribute('aria-current')
  })
  const rest = path[0] === 'filter' ? [] : path
  end = viewOf(name, rest)({
    link,
    main,
    path: rest,
    filter,
    setFilter: (text) => { history.replaceState(null, '', text === '' ? addressOf(name) : addressOf(name, 'filter', text)) },
    notice
  })
  document.title = `${main.querySelector('h1')?.textContent ?? 'Inspector'} · datasole`
}

addEventListener('hashchange', () => {
  show()
  main.focus()
})
// focus by script: a link to the anchor would replace the view's address
document.querySelector('.skip')!.addEventListener('click', (event) => {
  event.preventDefault()
  main.focus()
})
link.open()
