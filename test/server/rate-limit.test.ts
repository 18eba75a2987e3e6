import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { DefaultRateLimiter } from '../../lib/server/limits/default-rate-limiter.js'
import { Metrics } from '../../lib/server/metrics/metrics.js'
import type { Connection } from '../../lib/server/connection/connection.js'
import { Work } from '../../lib/server/connection/work.js'
import { FrameLimiter } from '../../lib/server/limits/frame-limiter.js'
import { resolveOptions } from '../../lib/server/config/settings.js'
import type { RateLimitConfig } from '../../plugins/server.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import type { Wire } from '../helpers/wire.js'

const { EVENT_C2S, ERROR, PING, PONG, RPC_CANCEL, RPC_REQ, RPC_RES, STATE_SNAPSHOT, SUBSCRIBE, UNSUBSCRIBE } = Opcode
const HOUR = 3_600_000

/** How many calls of a method are admitted before one is refused. */
async function admitted (wire: Wire, method: string): Promise<number> {
  for (let n = 0; ; n++) {
    const { error } = await wire.call(method)
    if (error?.code === -32029) return n
  }
}

for (const [entrance, start] of entrances) {
  t.test(`rate limit, ${entrance}`, async (t) => {
    t.test('the default: 100 requests a minute and connection', async (t) => {
      const { connect, ds } = await start(t)
      const wire = await connect()
      t.equal(await admitted(wire, 'echo'), 100)
      t.equal(await admitted(await connect(), 'echo'), 100, 'another connection has its own')
      t.equal(ds.metrics.snapshot().rateLimited, 2)
    })

    t.test('a call that is refused gets RPC_RES, anything else an ERROR', async (t) => {
      const { connect, connectV1 } = await start(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 1 }, rules: { $subscribe: { windowMs: HOUR, maxRequests: 1 } } } })
      const wire = await connect()
      await wire.call('echo')
      const { error } = await wire.call('echo')
      t.match(error, { code: -32029, data: { code: 'RATE_LIMITED' } })
      t.ok(error.data.retryAfter > HOUR - 60_000 && error.data.retryAfter <= HOUR)
      t.match(await wire.ask(EVENT_C2S, { event: 'e' }), { opcode: ERROR, payload: { code: 'RATE_LIMITED', retryAfter: Number } })
      t.match(await wire.ask(SUBSCRIBE, { key: 'a' }), { opcode: STATE_SNAPSHOT }, 'subscriptions have a bucket of their own')
      t.match(await wire.ask(SUBSCRIBE, { key: 'b' }), { opcode: ERROR, payload: { code: 'RATE_LIMITED', retryAfter: Number, key: 'b' } })
      const old = await connectV1()
      await old.call('echo')
      t.match(await old.call('echo'), { error: { code: -32029 } }, 'a version 1 client would wait for ever on an ERROR')
    })

    t.test('PING, UNSUBSCRIBE and RPC_CANCEL are free', async (t) => {
      const { connect } = await start(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 2 } } })
      const wire = await connect()
      for (let i = 0; i < 50; i++) {
        t.match(await wire.ask(PING, null), { opcode: PONG })
        wire.send(UNSUBSCRIBE, 0, { key: 'k' })
        wire.send(RPC_CANCEL, 1, null)
      }
      t.equal(await admitted(wire, 'echo'), 2)
    })

    t.test('unknown methods and events that nobody hears cost as much as others', async (t) => {
      const { connect } = await start(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 4 } } })
      const wire = await connect()
      await wire.call('unknown 1')
      await wire.call('unknown 2')
      wire.send(EVENT_C2S, 0, { event: 'unheard' })
      t.equal(await admitted(wire, 'echo'), 1)
    })

    t.test('a rule by name replaces the default one, in a bucket of its own', async (t) => {
      const { connect, ds } = await start(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 3 }, rules: { search: { windowMs: HOUR, maxRequests: 5 }, upload: { windowMs: HOUR, maxRequests: 1 }, never: { windowMs: HOUR, maxRequests: 0 } } } })
      for (const name of ['search', 'upload', 'never']) ds.rpc.register(name, () => 1)
      const wire = await connect()
      t.strictSame([await admitted(wire, 'search'), await admitted(wire, 'echo'), await admitted(wire, 'upload'), await admitted(wire, 'never')], [5, 3, 1, 0])
    })

    t.test('keyExtractor shares a bucket among connections; it hears of names that are registered only', async (t) => {
      const asked: unknown[] = []
      const { connect, ds } = await start(t, {
        authHandler: (req) => ({ authenticated: true, userId: req.headers.authorization }),
        rateLimit: {
          defaultRule: { windowMs: HOUR, maxRequests: 5 },
          keyExtractor: (connectionId, method, connection) => {
            asked.push([connectionId === connection.connectionId, method])
            return connection.userId!
          }
        }
      })
      ds.primitives.events.on('heard', () => {})
      const ann = { headers: { authorization: 'Bearer ann' } }
      const wires = [await connect(ann), await connect(ann), await connect({ headers: { authorization: 'Bearer bob' } })]
      await wires[0]!.call('echo')
      await wires[0]!.call('made up')
      wires[0]!.send(EVENT_C2S, 0, { event: 'heard' })
      wires[0]!.send(EVENT_C2S, 0, { event: 'made up too' })
      await wires[0]!.ping()
      t.strictSame(asked, [[true, 'echo'], [true, undefined], [true, 'heard'], [true, undefined]])
      t.equal(await admitted(wires[1]!, 'echo'), 1)
      t.equal(await admitted(wires[2]!, 'echo'), 5)
      await wires[0]!.close()
      t.equal(await admitted(await connect(ann), 'echo'), 0, 'and a reconnect does not empty it')
    })

    t.test('a keyExtractor that throws, or gives no string, fails the frame, and nothing else', async (t) => {
      const broken: Array<() => unknown> = [() => { throw new Error('no key') }, () => undefined, () => 5, async () => 'a key', async () => { throw new Error('no key') }]
      for (const keyExtractor of broken) {
        const { connect, logs } = await start(t, { rateLimit: { keyExtractor: keyExtractor as () => string } })
        const wire = await connect()
        t.match((await wire.call('echo')).error, { code: -32603 })
        t.match(await wire.ask(EVENT_C2S, { event: 'e' }), { opcode: ERROR, payload: { code: 'INTERNAL' } })
        t.match(await wire.ask(PING, null), { opcode: PONG })
        t.ok(logs.some((line) => /no key|keyExtractor/.test(line)), 'the log says why')
      }
    })

    t.test('a client that goes on and on is closed with 4429', async (t) => {
      const { connect, ds } = await start(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 1 } }, compression: false })
      const wire = await connect()
      for (let id = 0; id <= 1000; id++) wire.send(RPC_REQ, id, { method: 'echo', correlationId: id })
      await wire.ping()
      t.equal(wire.received.filter(({ opcode }) => opcode === RPC_RES).length, 1001, '1,000 refusals are borne')
      wire.send(RPC_REQ, 2000, { method: 'echo', correlationId: 2000 })
      t.equal((await wire.closed).code, 4429)
      t.equal(ds.metrics.snapshot().rateLimited, 1001)
    })

    t.test('rateLimit: false', async (t) => {
      const { connect } = await start(t, { rateLimit: false })
      const wire = await connect()
      for (let i = 0; i < 300; i++) t.equal((await wire.call('echo', i)).result, i)
    })
  })
}

t.test('rate limit: buckets, with a clock in hand', async (t) => {
  let now = 0
  const limiter = (config: RateLimitConfig): { subscribe (a: Connection): number, take (a: Connection, name: string): number } => {
    const charge = { scopeOf: () => undefined, limitOf: () => limits.subscriptions, knownAs: (name: string) => name }
    const limits = new FrameLimiter(resolveOptions({ rateLimit: config }).rateLimit, new DefaultRateLimiter(new MemoryBackend()), true, '', new Metrics(() => 0, () => []), capturedLogger([]), () => now)
    return {
      subscribe: (a: Connection) => limits.admit(a, limits.subscriptions, charge, '$subscribe') as number,
      take: (a: Connection, name: string) => {
        const wait = limits.admit(a, limits.limitOf(name), charge, name) as number
        if (wait > 0) limits.refused(a, limits.limitOf(name))
        return wait
      }
    }
  }
  const connection = (id: string): Connection => ({ id, work: new Work(), context: { userId: id } }) as unknown as Connection

  t.test('a name of a client\'s cannot use the rule of subscriptions', async (t) => {
    const limits = limiter({ defaultRule: { windowMs: 1000, maxRequests: 2 } })
    const a = connection('a')
    for (let i = 0; i < 2; i++) t.equal(limits.take(a, '$subscribe'), 0)
    t.ok(limits.take(a, '$subscribe') > 0, 'it is a name like any other')
    for (let i = 0; i < 20; i++) t.equal(limits.subscribe(a), 0)
    t.ok(limits.subscribe(a) > 0)
  })

  t.test('refusals count by rule', async (t) => {
    const limits = limiter({ defaultRule: { windowMs: 60_000, maxRequests: 0 }, rules: { short: { windowMs: 1, maxRequests: 0 } } })
    let closedWith = 0
    const a = { id: 'a', work: new Work(), context: {}, close: (code: number) => { closedWith = code } } as unknown as Connection
    for (let i = 0; i < 1000; i++) {
      now += 2
      limits.take(a, 'm')
      limits.take(a, 'short')
    }
    t.equal(closedWith, 0)
    limits.take(a, 'm')
    t.equal(closedWith, 4429)
  })

  t.test('retryAfter is exact', async (t) => {
    const limits = limiter({ defaultRule: { windowMs: 1000, maxRequests: 2 } })
    const a = connection('a')
    now = 5000.9
    t.equal(limits.take(a, 'm'), 0)
    now = 5400.2
    t.equal(limits.take(a, 'm'), 0)
    t.equal(limits.take(a, 'm'), 600)
    now = 5999.99
    t.equal(limits.take(a, 'm'), 1)
    now = 6000
    t.equal(limits.take(a, 'm'), 0)
    t.equal(limits.take(a, 'm'), 400)
  })
})
