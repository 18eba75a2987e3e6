import type { ConnectionDetail } from '../inspector/views.js'
import { Facts, confirm, h, setText } from './dom.js'
import { framesTail } from './frames-tail.js'
import { type ShowView, addressOf } from './page-view.js'
import { age, bytes, count } from './units.js'

/** Interval of requests in ms. */
const PERIOD = 1000

/** The beginning of a name, as long as a filter may be. */
const beginningOf = (name: string): string => name.slice(0, 100).replace(/[\ud800-\udbff]$/, '')

/** Shows one connection: its subscriptions, and its frames from now on. */
export const showConnection: ShowView = (host) => {
  const { link, main, path: [id = ''], notice } = host
  const facts = new Facts('facts')
  const keys = h('ul', { class: 'keys' })
  const keysNote = h('p', { class: 'soft' })
  const tail = framesTail(host, { connection: id })
  let isEnded = false
  let timer: ReturnType<typeof setTimeout> | undefined

  const disconnect = async (): Promise<void> => {
    const given = await confirm('Disconnect this client?', `Connection ${id}. With code 4401 the client does not reconnect by itself.`, 'Disconnect', { code: '4401', reason: 'disconnected by the server' })
    if (given === undefined) return
    try {
      const { count, missing } = await link.call('disconnect', { id, code: Number(given.code), reason: given.reason! })
      notice(count > 0 ? undefined : missing.length > 0 ? 'A node did not answer, so the connection may still be open.' : 'The connection has already ended.')
    } catch (error) {
      notice((error as Error).message)
    }
  }

  const show = ({ row, keys: names, keyCount, missing }: ConnectionDetail): void => {
    const state = row !== undefined ? 'open' : missing.length > 0 ? 'unknown: a node does not answer' : 'ended'
    facts.set('State', state, row === undefined ? 'bad' : 'good')
    if (row !== undefined) {
      facts.set('User', row.user || '–')
      facts.set('Address', row.address)
      facts.set('Open for', age(row.connectedAt))
      facts.set('Protocol', `version ${row.protocol}`)
      facts.set('Buffered', bytes(row.bufferedBytes))
      facts.set('Calls in flight', count(row.calls))
      facts.set('In and out', `${bytes(row.bytesIn)}/s in, ${bytes(row.bytesOut)}/s out`)
      facts.set('Tags', row.tags.join(', ') || '–')
      facts.set('Node', row.node)
    }
    setText(keysNote, keyCount > names.length ? `${count(names.length)} of ${count(keyCount)} keys` : keyCount === 0 ? 'no subscription' : '')
    if (keys.dataset.names === names.join('\n')) return
    keys.dataset.names = names.join('\n')
    keys.replaceChildren(...names.map((name) => h('li', {}, h('a', { href: addressOf('keys', 'filter', beginningOf(name)) }, name))))
  }

  const ask = async (): Promise<void> => {
    await link.call('connection', { node: '', id }).then(show, () => { /* the header shows the state of the connection */ })
    if (!isEnded) timer = setTimeout(() => { void ask() }, PERIOD)
  }
  void ask()

  main.append(
    h('p', {}, h('a', { href: addressOf('connections') }, '← Connections')),
    h('div', { class: 'head' }, h('h1', {}, `Connection ${id}`), h('div', { class: 'end' }, link.mayAct ? h('button', { type: 'button', class: 'danger', click: () => { void disconnect() } }, 'Disconnect') : undefined)),
    h('div', { class: 'two' }, h('section', { class: 'card' }, h('h2', {}, 'State'), facts.element), h('section', { class: 'card' }, h('h2', {}, 'Subscriptions'), keysNote, keys)),
    tail.element)
  return () => {
    isEnded = true
    clearTimeout(timer)
    tail.end()
  }
}
