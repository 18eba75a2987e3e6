import { EventEmitter } from 'node:events'
import t from 'tap'
import { CloseCode } from '../../lib/protocol/codes.js'
import type { DatasoleError } from '../../lib/client/client.js'
import { entrances } from '../helpers/entrances.js'
import { randomOf, seed } from '../helpers/random.js'
import { until } from '../helpers/until.js'
import { watch } from './dialled.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const startServer = entrances.find(([name]) => name === 'standalone')![1]

/** What a call may come to while its connection comes and goes. */
const EXPECTED = ['OUTCOME_UNKNOWN', 'NOT_CONNECTED', 'DISCONNECTED']

t.test('page: whatever happens to it in whichever order, it converges, and every call is settled', async (t) => {
  const random = randomOf(seed)
  const [window, document] = [new EventEmitter(), new EventEmitter()].map((target) => Object.assign(target, {
    addEventListener: (name: string, listener: () => void) => { target.on(name, listener) },
    removeEventListener: (name: string, listener: () => void) => { target.off(name, listener) }
  })) as [EventEmitter & { addEventListener: unknown, removeEventListener: unknown }, EventEmitter]
  const shown = Object.assign(document, { visibilityState: 'visible' })
  Object.assign(globalThis, { addEventListener: window.addEventListener, removeEventListener: window.removeEventListener, document: shown })
  t.teardown(() => { for (const name of ['addEventListener', 'removeEventListener', 'document']) Reflect.deleteProperty(globalThis, name) })

  const { ds, origin } = await startServer(t, { rateLimit: false, compression: { threshold: 64 } })
  ds.rpc.register('large', (params) => ({ params, text: 'x'.repeat(random(5000)) }))
  ds.primitives.live.createSyncChannel({ key: 'notes', direction: 'bidirectional', mode: 'json-patch', initialValue: [] })
  await ds.primitives.live.setState('board', { n: 0, text: '' })
  const { client, errors } = watch(t, { url: origin, useWorker: false, reconnectInterval: 5 })
  const versions: number[] = []
  client.subscribeState('board', (_value, { version }) => { versions.push(version) })
  const notes = client.channel('notes')
  const likes = client.crdt('likes', 'pn-counter')
  const outcomes: unknown[] = []
  let calls = 0
  let written = 0
  let liked = 0
  const connect = (): void => { client.connect().catch((error: DatasoleError) => { outcomes.push(['connect', error.code]) }) }
  connect()

  const actions: Array<() => unknown> = [
    () => window.emit('online', {}),
    () => window.emit('offline', {}),
    () => window.emit('pagehide', { persisted: random(2) === 0 }),
    () => window.emit('pageshow', { persisted: true }),
    () => { shown.visibilityState = random(2) === 0 ? 'hidden' : 'visible'; document.emit('visibilitychange', {}) },
    () => document.emit('resume', {}),
    () => { ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY }) },
    () => { if (random(4) === 0) void client.disconnect() },
    connect,
    async () => { await ds.primitives.live.update('board', (draft) => { Object.assign(draft as object, { n: random(1000), text: 'y'.repeat(random(3000)) }) }) },
    () => { calls++; client.rpc('large', 'z'.repeat(random(4000))).then(() => outcomes.push('answered'), (error: DatasoleError) => outcomes.push(['call', error.code])) },
    () => { const n = ++written; notes.update((draft) => [...(draft as number[] | undefined) ?? [], n]) },
    () => { liked++; likes.increment() },
    () => { client.emit('event', 'w'.repeat(random(3000))) }
  ]
  for (let i = 0; i < 600; i++) {
    await actions[random(actions.length)]!()
    if (random(3) === 0) await new Promise((resolve) => setTimeout(resolve, random(4)))
  }

  window.emit('pageshow', { persisted: true })
  await until(() => {
    if (client.getConnectionState() === 'disconnected') connect()
    return client.getConnectionState() === 'connected' && client.getStateStatus('board') === 'live'
  })
  await ds.primitives.live.update('board', (draft) => { (draft as { n: number }).n = -1 })
  await until(() => (client.getState('board') as { n: number }).n === -1)
  t.strictSame(client.getState('board'), await ds.primitives.live.getState('board'))
  t.strictSame(versions, [...new Set(versions)].sort((a, b) => a - b), 'no version came twice or late')
  await notes.saved()
  t.strictSame(notes.get(), Array.from({ length: written }, (_, i) => i + 1), 'no change of the channel is lost or counts twice')
  await until(() => !likes.isPending)
  t.equal(likes.value, liked)
  await until(() => outcomes.filter((outcome) => outcome === 'answered' || (outcome as [string])[0] === 'call').length === calls)
  t.strictSame(outcomes.filter((outcome) => outcome !== 'answered' && !EXPECTED.includes((outcome as [string, string])[1])), [])
  t.strictSame(errors.filter((error) => !['CONNECT_FAILED', 'CONNECTION_LOST', 'PAGE_SUSPENDED'].includes((error as DatasoleError).code)), [])
  await client.disconnect()
  t.equal(window.eventNames().length + document.eventNames().length, 0, 'no listener is left')
})
