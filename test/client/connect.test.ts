import t from 'tap'
import { WebSocket } from 'ws'
import { entrances } from '../helpers/entrances.js'
import { watch } from './dialled.js'
import { listen } from './peer.js'

t.test('the first failure of a connect() is heard, and no other', async (t) => {
  const server = await listen(t)
  const { client, errors, until, states } = watch(t, { url: server.url })
  const connected = client.connect()
  for (let i = 0; i < 3; i++) (await server.accept()).socket.close(1011, 'not yet')
  await until(() => errors.length > 0)
  const peer = (await server.accept()).welcome()
  await connected
  t.match(errors, [{ code: 'CONNECT_FAILED', message: /could not be made.*not yet; connect\(\) keeps trying/ }])
  peer.socket.terminate()
  ;(await server.accept()).socket.close(1011)
  ;(await server.accept()).welcome()
  await until(() => states.at(-1) === 'connected')
  t.equal(errors.length, 1, 'a loss afterwards is nothing that somebody must do something about')
})

t.test('connectTimeoutMs ends it', async (t) => {
  const server = await listen(t)
  const { client, states } = watch(t, { url: server.url, connectTimeoutMs: 1500 })
  const connected = client.connect()
  const call = client.rpc('x')
  const failed = t.rejects(call, { code: 'NOT_CONNECTED' })
  ;(await server.accept()).socket.close(1011, 'not yet')
  await t.rejects(connected, { name: 'DatasoleError', code: 'CONNECT_TIMEOUT', message: /connectTimeoutMs \(1500\).*not yet/, cause: { code: 'CONNECT_FAILED' } })
  await failed
  t.strictSame(states, ['connecting', 'reconnecting', 'disconnected'])
  const before = server.count()
  await new Promise((resolve) => setTimeout(resolve, 60))
  t.equal(server.count(), before, 'nothing is tried any more')
  const again = client.connect()
  for (let i = 1; i < before; i++) await server.accept() // those of the first attempts
  ;(await server.accept()).welcome()
  await again
  await new Promise((resolve) => setTimeout(resolve, 1600))
  t.equal(client.getConnectionState(), 'connected', 'a connection that was made is left alone')
})

t.test('connect: a signal ends it', async (t) => {
  const server = await listen(t)
  const { client, states } = watch(t, { url: server.url })
  const controller = new AbortController()
  const others = client.connect()
  const connected = client.connect({ signal: controller.signal })
  await server.accept()
  const reason = new Error('enough')
  controller.abort(reason)
  for (const each of [connected, others]) await t.rejects(each, { name: 'DatasoleError', code: 'CONNECT_ABORTED', cause: reason })
  t.strictSame(states, ['connecting', 'disconnected'])
  await t.rejects(client.connect({ signal: controller.signal }), { code: 'CONNECT_ABORTED' })
  t.equal(states.length, 2)
  const later = new AbortController()
  const again = client.connect({ signal: later.signal })
  ;(await server.accept()).welcome()
  await again
  later.abort()
  t.equal(client.getConnectionState(), 'connected', 'a connection that was made is left alone')
})

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: a bad token is heard of, and connect() can be ended`, async (t) => {
    const { url } = await start(t, { authHandler: () => ({ authenticated: false }) })
    const { client, errors } = watch(t, { url, webSocket: WebSocket, auth: { token: 'bad' }, connectTimeoutMs: 1500 })
    await t.rejects(client.connect(), { code: 'CONNECT_TIMEOUT', message: /401/ })
    t.match(errors, [{ code: 'CONNECT_FAILED', message: /401/ }])
  })
}
