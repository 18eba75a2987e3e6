import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { encode, refusal } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { EVENT_C2S, PING, RPC_REQ, SUBSCRIBE } = Opcode
const PAD = 'x'.repeat(300)

/** What a client's message takes on the wire: header, mask, bytes. */
function sent (...frames: Uint8Array[]): number {
  return frames.reduce((sum, { length }) => sum + (length < 126 ? 2 : length < 65_536 ? 4 : 10) + 4 + length, 0)
}

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: exact numbers after a conversation`, async (t) => {
    const { ds, connect, connectV1, url } = await start(t, {
      authHandler: (req) => ({ authenticated: req.headers.authorization !== 'Bearer no' }),
      rateLimit: { rules: { limited: { windowMs: 3_600_000, maxRequests: 1 } } },
      maxEventNameLength: 10
    })
    const { live } = ds.primitives
    const zero = ds.metrics.snapshot()
    t.ok(zero.uptime > 0)
    const { uptime: _uptime, ...counters } = zero
    t.ok(Object.values(counters).every((value) => value === 0), JSON.stringify(counters))
    ds.rpc.register('limited', () => 1)
    ds.rpc.register('fails', () => { throw new Error('no') })

    let bytesReceived = 0
    const raw = (await connect())
    const listen = (wire: typeof raw): void => {
      (wire.socket as unknown as { _socket: NodeJS.EventEmitter })._socket.on('data', (chunk: Buffer) => { bytesReceived += chunk.length })
    }
    await raw.nextOf(Opcode.WELCOME)
    const welcome = ds.metrics.snapshot()
    t.match(welcome, { connections: 1, messagesIn: 0, messagesOut: 1 })
    listen(raw)

    const frames = [
      encode(RPC_REQ, 1, { method: 'echo', params: 'x'.repeat(200), correlationId: 1 }),
      encode(RPC_REQ, 2, { method: 'nope', correlationId: 2 }),
      encode(RPC_REQ, 3, { method: 'fails', correlationId: 3 }),
      encode(RPC_REQ, 4, { method: 'limited', correlationId: 4 }),
      encode(RPC_REQ, 5, { method: 'limited', correlationId: 5 }),
      encode(EVENT_C2S, 0, { event: 'nobody', data: 'x'.repeat(70_000) }),
      encode(EVENT_C2S, 0, { event: 'a name too long' }),
      Buffer.from('garbage'),
      encode(SUBSCRIBE, 6, { key: 'k' })
    ]
    for (const frame of frames) raw.sendRaw(frame)
    await raw.waitFor(({ id }) => id === 6)
    await live.setState('k', { n: 0, PAD }) // one snapshot
    await raw.nextOf(Opcode.STATE_SNAPSHOT)
    for (let n = 1; n <= 3; n++) {
      await live.setState('k', { n, PAD })
      await raw.nextOf(Opcode.STATE_PATCH)
    }
    await live.setState('k', { n: 3, PAD }) // equal: nothing
    ds.primitives.fanout.broadcast('news', 1)
    const ping = encode(PING, 7, null)
    raw.sendRaw(ping)
    await raw.waitFor(({ id }) => id === 7)

    const after = ds.metrics.snapshot()
    t.match(after, {
      connections: 1,
      messagesIn: 10,
      bytesIn: sent(...frames, ping),
      messagesOut: 1 + 5 + 1 + 1 + 1 + 3 + 1 + 1, // welcome, answers, error, empty snapshot, snapshot, patches, event, pong
      bytesOut: welcome.bytesOut + bytesReceived,
      rpcCalls: 5,
      rpcErrors: 3,
      statePatches: 3,
      stateSnapshots: 2,
      stateOversized: 0,
      commits: 4,
      eventsIn: 2,
      eventsDropped: 1,
      eventsUnhandled: 1,
      badFrames: 1,
      rateLimited: 1,
      upgradesRefused: 0,
      slowConsumers: 0
    })
    t.ok(after.uptime > zero.uptime)

    const old = await connectV1()
    await old.until(({ state }) => state.has('k'))
    ds.primitives.fanout.broadcast('news', 2)
    await old.until(({ events }) => events.length === 1)
    await raw.ping()
    t.equal((await refusal(url, { headers: { authorization: 'Bearer no' } })).status, 401)
    t.match(ds.metrics.snapshot(), { connections: 2, stateSnapshots: 3, messagesOut: after.messagesOut + 1 + 2 + 1, upgradesRefused: 1 }, 'one per receiver')
    await raw.close()
    old.wire.socket.terminate()
    await old.wire.closed
    await until(() => ds.transport.getConnectionCount() <= 0)
    t.equal(ds.metrics.snapshot().connections, 0)
    await live.setState('k', 'nobody is there')
    t.match(ds.metrics.snapshot(), { stateSnapshots: 3, statePatches: 3, commits: 5 })
  })
}

t.test('metrics: a snapshot is a plain object of numbers, and a copy', async (t) => {
  const [[, start]] = entrances as [[string, typeof entrances[number][1]]]
  const { ds } = await start(t)
  const snapshot = ds.metrics.snapshot() as unknown as Record<string, number>
  t.ok(Object.values(snapshot).every((value) => typeof value === 'number'))
  t.strictSame(JSON.parse(JSON.stringify(snapshot)), snapshot)
  snapshot.messagesIn = 99
  t.equal(ds.metrics.snapshot().messagesIn, 0)
})
