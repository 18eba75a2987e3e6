import t from 'tap'
import { WebSocket } from 'ws'
import { liveStore } from '../../lib/client/live-store.js'
import { SocketLink } from '../../lib/client/socket-link.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { dial, watch } from './dialled.js'
import { takeOver } from '../helpers/take-over.js'
import { until } from '../helpers/until.js'
import { listen } from './peer.js'

// apart from the other tests of the link, with the WebSocket of ws, as that of Node.js has timers of its own

t.test('time: a server that opens the socket and says nothing has ten seconds', async (t) => {
  const server = await listen(t)
  const pass = takeOver(t)
  const { client, states, causes } = watch(t, { webSocket: WebSocket, url: server.url, reconnectInterval: 1000 })
  const connected = client.connect()
  await server.accept()
  pass(9999)
  t.strictSame(states, ['connecting'])
  pass(1)
  t.strictSame(states, ['connecting', 'reconnecting'])
  t.match(causes[1], { code: 'CONNECT_FAILED', message: /10000 ms/ })
  pass(1000)
  ;(await server.accept()).welcome()
  await connected
})

t.test('time: the wait grows with each attempt, a goodbye does not make it grow, and a good connection starts anew', async (t) => {
  const server = await listen(t)
  const pass = takeOver(t)
  let made = 0
  class Counted extends WebSocket {
    constructor (url: string, protocols: string[]) {
      super(url, protocols)
      made++
    }
  }
  const { client, until, states } = watch(t, { url: server.url, reconnectInterval: 1000, webSocket: Counted })
  void client.connect()
  let drops = 0
  const dropped = async (code: number, bound: number, lasting = 0): Promise<void> => {
    const peer = (await server.accept()).welcome()
    await until(() => client.getConnectionState() === 'connected')
    pass(lasting)
    peer.socket.close(code)
    drops++
    await until(() => states.filter((state) => state === 'reconnecting').length === drops)
    const before = made
    pass(bound * 0.99)
    t.equal(made, before, `not before ${bound * 0.99} ms`)
    pass(bound * 0.01)
    t.equal(made, before + 1, `after ${bound} ms`)
  }
  await dropped(1011, 1000)
  await dropped(1011, 2000)
  await dropped(1011, 4000)
  await dropped(1001, 1000)
  await dropped(1011, 16_000)
  await dropped(1011, 1000, 5000) // which is less than a heartbeat
  await server.accept()
})

t.test('time: every frame is a sign of life', async (t) => {
  const pass = takeOver(t)
  const { client, peer, states } = await dial(t, { webSocket: WebSocket }, { heartbeatMs: 1000 })
  const heard = async (): Promise<void> => {
    const event = new Promise<void>((resolve) => { client.on('tick', () => { resolve() }) })
    peer.send(Opcode.EVENT_S2C, 0, { event: 'tick', data: null, timestamp: 0 })
    await event
  }
  pass(900)
  await heard()
  pass(900)
  await heard()
  pass(999)
  client.emit('fence')
  await peer.next(Opcode.EVENT_C2S)
  t.equal(peer.pings, 0)
  peer.answersPings = false
  pass(1)
  await peer.until(() => peer.pings === 1)
  await heard() // though not the PONG
  pass(999)
  pass(1)
  await peer.until(() => peer.pings === 2)
  pass(999)
  t.equal(client.getConnectionState(), 'connected')
  pass(1)
  t.equal(client.getConnectionState(), 'reconnecting', 'after two intervals')
  t.equal(states.at(-1), 'reconnecting')
})

t.test('time: a silent server is asked for a sign of life, and left when it gives none', async (t) => {
  const pass = takeOver(t)
  let heard = 0
  class Hearing extends WebSocket {
    constructor (url: string, protocols: string[]) {
      super(url, protocols)
      this.on('message', () => { heard++ })
    }
  }
  const { peer, server, causes, states } = await dial(t, { webSocket: Hearing }, { heartbeatMs: 1000 })
  for (let pings = 1; pings <= 3; pings++) {
    const before = heard
    pass(1000)
    await peer.until(() => peer.pings === pings)
    await until(() => heard > before)
  }
  t.strictSame(states, ['connecting', 'connected'], 'PONG is such a sign')
  peer.answersPings = false
  pass(1000)
  await peer.until(() => peer.pings === 4)
  pass(999)
  t.strictSame(states, ['connecting', 'connected'])
  pass(1)
  t.strictSame(states, ['connecting', 'connected', 'reconnecting'])
  t.match(causes[2], { code: 'CONNECTION_LOST', message: /silent for two heartbeats/ })
  pass(1000)
  await server.accept()
  t.equal(peer.pings, 4, 'it asks once')
})

t.test('time: a getToken that hangs has the same ten seconds; closing does not wait for it', async (t) => {
  const pass = takeOver(t)
  const said: string[] = []
  let asked = 0
  const link = new SocketLink({ url: 'ws://127.0.0.1:1', protocols: undefined, reconnect: true, reconnectInterval: 1, maxReconnectAttempts: Infinity }, WebSocket, {
    onState: (state, _welcome, failure) => { said.push(failure === undefined ? state : `${state}: ${failure.message}`) },
    onFrame: () => { t.fail('a frame') },
    onUnsent: () => { t.fail('a message that was not sent') },
    onOffer: () => { asked++ },
    onProblem: () => { t.fail('a problem') }
  })
  link.open()
  pass(9_999)
  t.match(said, ['connecting'])
  pass(1)
  t.match(said, ['connecting', /reconnecting: .*no answer within 10000 ms/])
  t.equal(asked, 1)
  pass(1)
  t.equal(asked, 2)
  link.close()
  link.offer(['datasole.v2'])
  pass(60_000)
  t.equal(asked, 2)
  t.equal(said.at(-1), 'disconnected')
})

t.test('time: who waited for a live store has five seconds to subscribe, however short keepMs is', async (t) => {
  const server = await listen(t)
  const pass = takeOver(t)
  const { client } = watch(t, { webSocket: WebSocket, url: server.url })
  void client.connect()
  const peer = (await server.accept()).welcome()
  const ready = liveStore(client, 'k', { keepMs: 0 }).ready()
  peer.send(Opcode.STATE_SNAPSHOT, (await peer.next(Opcode.SUBSCRIBE)).id, { key: 'k', epoch: 'e', version: 1, data: 'value' })
  await ready
  pass(4999)
  t.equal(client.getStateStatus('k'), 'live')
  pass(1)
  t.equal(client.getStateStatus('k'), undefined)
})
