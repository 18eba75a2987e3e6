import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { deflateSync } from 'node:zlib'
import t from 'tap'
import { WebSocket } from 'ws'
import { SocketLink } from '../../lib/client/socket-link.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { encode } from '../helpers/wire.js'
import { dial, watch } from './dialled.js'
import { listen } from './peer.js'

t.test('socket link: connected is when the server has said welcome, and not before', async (t) => {
  const server = await listen(t)
  const { client, states } = watch(t, { url: server.url, auth: { token: 'se/cret' } })
  const connected = client.connect()
  t.equal(client.connect(), connected, 'connecting twice is connecting once')
  const peer = await server.accept()
  t.equal(client.getConnectionState(), 'connecting')
  t.equal(peer.request.url, '/__ds')
  t.strictSame(peer.offered, ['datasole.v3', 'datasole.v2', 'datasole.token.' + Buffer.from('se/cret').toString('base64url')])
  t.equal(peer.socket.protocol, 'datasole.v2')
  peer.welcome()
  await connected
  t.equal(client.connectionId, 'c1')
  await client.connect()
  t.strictSame(states, ['connecting', 'connected'])
  await client.disconnect()
  t.equal(client.getConnectionState(), 'disconnected')
  t.equal(client.connectionId, undefined)
  t.equal(await peer.closed(), 1000)
  t.equal(server.count(), 1)
})

t.test('socket link: large frames are deflated both ways, and told by their first byte', async (t) => {
  const { client, peer } = await dial(t)
  const params = { text: 'abc'.repeat(1000) }
  const answer = client.rpc('echo', params)
  const call = await peer.next(Opcode.RPC_REQ)
  t.ok(call.deflated)
  t.strictSame(call.payload.params, params)
  peer.socket.send(deflateSync(encode(Opcode.RPC_RES, call.id, { correlationId: call.id, result: params })))
  t.strictSame(await answer, params)
  client.emit('small', 1)
  t.notOk((await peer.next(Opcode.EVENT_C2S)).deflated)
})

t.test('socket link: what is not a frame is reported, and ends nothing', async (t) => {
  const { client, peer, errors, until } = await dial(t)
  peer.socket.send('text')
  peer.socket.send(Buffer.from([1, 2, 3]))
  await until(() => errors.length === 2)
  t.match(errors, [{ code: 'BAD_FRAME' }, { code: 'BAD_FRAME' }])
  peer.send(Opcode.RPC_RES, 99, null) // JSON, but no answer
  await until(() => errors.length === 3)
  const answer = client.rpc('still')
  peer.result(await peer.next(Opcode.RPC_REQ), 'here')
  t.equal(await answer, 'here')
})

t.test('socket link: it comes back after a loss, and says why it was lost', async (t) => {
  const { client, server, peer, states, causes, errors } = await dial(t)
  peer.socket.terminate()
  const again = await server.accept()
  t.equal(client.getConnectionState(), 'reconnecting')
  const connected = client.connect()
  again.welcome()
  await connected
  t.strictSame(states, ['connecting', 'connected', 'reconnecting', 'connected'])
  t.match(causes[2], { code: 'CONNECTION_LOST', message: /1006/ })
  t.strictSame(errors, [], 'which is nothing that somebody must do something about')
})

for (const code of [1001, 1011, 1012, 4408, 4413, 4429]) {
  t.test(`it comes back after close code ${code}`, async (t) => {
    const { server, peer, causes, until } = await dial(t)
    peer.socket.close(code, 'see you')
    await until(() => causes.length === 3)
    t.match(causes[2], { message: new RegExp(`code ${code}.*see you`) })
    await server.accept()
  })
}

for (const [code, name] of [[4401, 'AUTH_EXPIRED'], [1008, 'POLICY']] as const) {
  t.test(`close code ${code} forbids coming back`, async (t) => {
    const { client, peer, errors, states, until, server } = await dial(t)
    peer.socket.close(code, 'go away')
    await until(() => client.getConnectionState() === 'disconnected')
    t.match(errors, [{ code: name, message: /go away/ }])
    t.strictSame(states, ['connecting', 'connected', 'disconnected'])
    t.equal(server.count(), 1)
    const connected = client.connect()
    t.equal(client.getConnectionState(), 'connecting', 'until it is told to')
    ;(await server.accept()).socket.close(code)
    await t.rejects(connected, { code: name })
    t.equal(errors.length, 1, 'who waits for connect() is told there, and only there')
  })
}

t.test('a server that is not there: without reconnecting, connect() rejects with the reason', async (t) => {
  const server = await listen(t)
  await server.stop()
  const { client, errors } = watch(t, { url: server.url, webSocket: WebSocket, reconnect: false })
  await t.rejects(client.connect(), { code: 'CONNECT_FAILED', message: /ECONNREFUSED/ })
  t.equal(client.getConnectionState(), 'disconnected')
  t.strictSame(errors, [])
})

t.test('socket link: a refused upgrade says with what', async (t) => {
  const http = createServer((_request, response) => { response.writeHead(401).end() }).listen(0, '127.0.0.1')
  t.teardown(() => http.close())
  await once(http, 'listening')
  const { client } = watch(t, { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, webSocket: WebSocket, reconnect: false })
  await t.rejects(client.connect(), { code: 'CONNECT_FAILED', message: /401/ })
})

t.test('socket link: it tries as often as it may, then gives up', async (t) => {
  const server = await listen(t)
  const { client, states } = watch(t, { url: server.url, maxReconnectAttempts: 2 })
  const connected = client.connect()
  for (let i = 0; i < 3; i++) (await server.accept()).socket.close(1011)
  await t.rejects(connected, { code: 'CONNECT_FAILED', message: /1011/ })
  t.equal(server.count(), 3)
  t.strictSame(states, ['connecting', 'reconnecting', 'disconnected'])
})

t.test('socket link: it waits for a server that is not there yet', async (t) => {
  const server = await listen(t)
  const { port } = server
  await server.stop()
  const { client, until, states } = watch(t, { url: server.url })
  const connected = client.connect()
  await until(() => states.includes('reconnecting'))
  const late = await listen(t, port)
  ;(await late.accept()).welcome()
  await connected
  t.equal(client.getConnectionState(), 'connected')
})

t.test('an address that no socket takes is not tried again', async (t) => {
  class Picky { constructor () { throw new SyntaxError('no insecure sockets here') } }
  const { client } = watch(t, { url: 'ws://127.0.0.1:1', webSocket: Picky as never })
  await t.rejects(client.connect(), { code: 'CONNECT_FAILED', message: 'no insecure sockets here' })
})

t.test('socket link: back on the network, it tries at once', async (t) => {
  const listeners = new Set<() => void>()
  const scope = globalThis as { addEventListener?: unknown, removeEventListener?: unknown }
  scope.addEventListener = (name: string, listener: () => void) => { if (name === 'online') listeners.add(listener) }
  scope.removeEventListener = (_name: string, listener: () => void) => { listeners.delete(listener) }
  t.teardown(() => {
    delete scope.addEventListener
    delete scope.removeEventListener
  })
  const { client, peer, server, states, until } = await dial(t, { reconnectInterval: 2 ** 31 - 1 })
  for (const listener of listeners) listener()
  t.equal(server.count(), 1, 'a connection that is there is left alone')
  peer.socket.terminate()
  await until(() => states.includes('reconnecting'))
  for (const listener of listeners) listener()
  ;(await server.accept()).welcome()
  await client.connect()
  t.equal(listeners.size, 1)
  await client.disconnect()
  t.equal(listeners.size, 0)
})

t.test('socket link: disconnect() in a handler of a state is obeyed', async (t) => {
  for (const at of ['connecting', 'connected', 'reconnecting'] as const) {
    const server = await listen(t)
    const { client, states, until } = watch(t, { url: server.url, reconnectInterval: 1 })
    client.onConnectionState((state) => { if (state === at) void client.disconnect() })
    client.connect().catch(() => {}) // rejects where it was not connected
    if (at !== 'connecting') {
      const peer = (await server.accept()).welcome()
      if (at === 'reconnecting') {
        await until(() => states.includes('connected'))
        peer.socket.terminate()
      }
    }
    await until(() => states.at(-1) === 'disconnected')
    t.equal(states.at(-2), at)
    // were there a timer or a socket left, it would have come back by now
    await new Promise((resolve) => setTimeout(resolve, 50))
    t.equal(server.count(), at === 'connecting' ? 0 : 1)
    t.equal(states.at(-1), 'disconnected')
  }
})

t.test('socket link: a closed link says so once, and nothing more', async (t) => {
  const server = await listen(t)
  const said: string[] = []
  const link = new SocketLink({ url: server.url, protocols: ['datasole.v2'], reconnect: true, reconnectInterval: 1, maxReconnectAttempts: Infinity }, WebSocket, {
    onState: (state) => { said.push(state) },
    onFrame: () => { t.fail('a frame') },
    onUnsent: () => { t.fail('a message that was not sent') },
    onOffer: () => { t.fail('a question for subprotocols') },
    onProblem: () => { t.fail('a problem') }
  })
  link.open()
  const peer = await server.accept()
  link.close()
  link.close()
  link.send(Opcode.PING, 0, 'null')
  await peer.closed()
  t.strictSame(said, ['connecting', 'disconnected'])
})

t.test('socket link: disconnect() while connecting: connect() rejects, and may be called again', async (t) => {
  const server = await listen(t)
  const { client } = watch(t, { url: server.url })
  const connected = client.connect()
  await server.accept()
  await client.disconnect()
  await t.rejects(connected, { code: 'DISCONNECTED' })
  await client.disconnect()
  const again = client.connect()
  ;(await server.accept()).welcome()
  await again
  // nobody looks at this one, which must not end the process
  void client.disconnect()
  void client.connect()
  await client.disconnect()
})

t.test('any implementation of WebSocket will do', async (t) => {
  const own = (globalThis as { WebSocket?: unknown }).WebSocket
  if (own === undefined) return t.pass('this Node.js has none of its own')
  const { client } = await dial(t, { webSocket: own as typeof WebSocket })
  t.equal(client.getConnectionState(), 'connected')
})

t.test('socket link: text of digits is no length of a frame, and a WELCOME without a body is none', async (t) => {
  const server = await listen(t)
  const { client, errors, until } = watch(t, { url: server.url })
  const connected = client.connect()
  const peer = await server.accept()
  peer.socket.send('1000000000')
  peer.send(Opcode.WELCOME, 0, null)
  await until(() => errors.length === 2)
  t.match(errors, [{ code: 'BAD_FRAME', message: /text/ }, { code: 'BAD_FRAME' }])
  peer.welcome()
  await connected
})
