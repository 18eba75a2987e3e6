import { EventEmitter } from 'node:events'
import t, { type Test } from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { until } from '../helpers/until.js'
import { dial, watch } from './dialled.js'
import { listen } from './peer.js'

/** Makes this process look like a page, as far as the client follows it. */
function page (t: Test): { fire (name: string, event?: object): void, document: { visibilityState: string }, listeners (): number } {
  const targets = [new EventEmitter(), new EventEmitter()] as const
  const [window, document] = targets.map((target) => ({
    addEventListener: (name: string, listener: () => void) => { target.on(name, listener) },
    removeEventListener: (name: string, listener: () => void) => { target.off(name, listener) }
  }))
  const shown = { ...document, visibilityState: 'visible' }
  Object.assign(globalThis, window, { document: shown })
  t.teardown(() => { for (const name of ['addEventListener', 'removeEventListener', 'document']) Reflect.deleteProperty(globalThis, name) })
  return {
    fire (name, event = {}) { for (const target of targets) target.emit(name, event) },
    document: shown,
    listeners: () => targets.flatMap((target) => target.eventNames()).length
  }
}

t.test('page life: a page that is back on the network, or shown again, reconnects at once', async (t) => {
  const { fire, document, listeners } = page(t)
  for (const name of ['online', 'visibilitychange', 'resume']) {
    const { client, server, peer, states, until } = await dial(t, { reconnectInterval: 2 ** 30, useWorker: false })
    peer.socket.terminate()
    await until(() => states.at(-1) === 'reconnecting')
    document.visibilityState = 'hidden'
    fire('visibilitychange')
    t.equal(client.getConnectionState(), 'reconnecting')
    document.visibilityState = 'visible'
    fire(name)
    ;(await server.accept()).welcome()
    await until(() => states.at(-1) === 'connected')
    await client.disconnect()
    t.equal(listeners(), 0, 'no listener is left')
  }
})

t.test('page life: a connection that slept or lost its network is checked', async (t) => {
  const { fire } = page(t)
  const { peer, states } = await dial(t, { reconnectInterval: 10, useWorker: false }, { heartbeatMs: 1500 })
  fire('offline')
  t.equal(peer.pings, 0, 'a connection that was heard of just now needs no check')
  await until(() => peer.pings > 1)
  t.equal(states.at(-1), 'connected')
  peer.answersPings = false
  const before = peer.pings
  await until(() => peer.pings > before)
  fire('offline')
  await until(() => states.at(-1) === 'reconnecting')
})

t.test('page life: a page in the back/forward cache has no connection, and gets one when it is shown', async (t) => {
  const { fire } = page(t)
  const { client, server, peer, causes, until } = await dial(t, { useWorker: false, reconnectInterval: 1 })
  fire('pagehide', { persisted: false })
  t.equal(client.getConnectionState(), 'connected', 'a page that ends needs nothing')
  fire('pagehide', { persisted: true })
  t.equal(await peer.closed(), 1000)
  t.equal(client.getConnectionState(), 'reconnecting')
  t.match(causes.at(-1), { code: 'PAGE_SUSPENDED' })
  const answer = client.rpc('later')
  t.equal(server.count(), 1)
  fire('pageshow', { persisted: true })
  const again = (await server.accept()).welcome()
  again.result(await again.next(Opcode.RPC_REQ), 'here')
  t.equal(await answer, 'here')
  await until(() => client.getConnectionState() === 'connected')
})

t.test('page life: a client that does not reconnect stays connected while its page is cached', async (t) => {
  const { fire } = page(t)
  const { client } = await dial(t, { useWorker: false, reconnect: false })
  fire('pagehide', { persisted: true })
  t.equal(client.getConnectionState(), 'connected')
})

t.test('outbox: events wait for a connection that nobody has asked for yet, up to a number and an age', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url, outbox: { maxEvents: 2, maxAgeMs: 60_000 } })
  t.strictSame([1, 2, 3].map((n) => client.emit('event', n)), [true, true, false])
  await t.rejects(client.rpc('call'), { code: 'NOT_CONNECTED' }, 'calls do not wait')
  void client.connect()
  const peer = (await server.accept()).welcome()
  t.strictSame([(await peer.next(Opcode.EVENT_C2S)).payload, (await peer.next(Opcode.EVENT_C2S)).payload], [{ event: 'event', data: 1 }, { event: 'event', data: 2 }])
  await client.disconnect()
  t.equal(client.emit('event', 4), true)
  void client.connect()
  t.match((await (await server.accept()).welcome().next(Opcode.EVENT_C2S)).payload, { data: 4 })

  const none = watch(t, { url: server.url }).client
  t.equal(none.emit('event'), false, 'without the option they are refused')
  const old = watch(t, { url: server.url, outbox: { maxAgeMs: 0 } }).client
  old.emit('event', 'old')
  await new Promise((resolve) => setTimeout(resolve, 2)) // its age is measured in time
  const connected = old.connect()
  const third = (await server.accept()).welcome()
  await connected
  old.emit('event', 'new')
  t.match((await third.next(Opcode.EVENT_C2S)).payload, { data: 'new' })
  for (const outbox of [{ maxEvents: 1001 }, { maxEvents: -1 }, { maxAgeMs: 0.5 }, { size: 1 }]) {
    t.throws(() => watch(t, { url: server.url, outbox }), { code: 'INVALID_OPTION', message: /outbox\./ })
  }
})

t.test('compression: what is being deflated when the client disconnects is still sent', async (t) => {
  const { client, peer } = await dial(t)
  client.emit('large', 'x'.repeat(5000))
  client.emit('small')
  await client.disconnect()
  t.strictSame([(await peer.next(Opcode.EVENT_C2S)).payload.event, (await peer.next(Opcode.EVENT_C2S)).payload.event], ['large', 'small'])
})
