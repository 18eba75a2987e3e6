import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DefaultRateLimiter, type RateLimitResult, type RateLimiter } from '../../plugins/server.js'
import { cluster, node } from '../helpers/nodes.js'
import { stores } from '../helpers/stores.js'
import type { Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { ERROR, EVENT_C2S, PING, PONG, RPC_REQ, RPC_RES } = Opcode
const HOUR = 3_600_000
// a busy machine is no outage
const ten = { defaultRule: { windowMs: HOUR, maxRequests: 10 }, timeoutMs: 60_000, keyExtractor: () => 'everyone' }

/** How many of 50 calls at once are admitted. */
async function admitted (wires: Wire[]): Promise<number> {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => wires[i % wires.length]!.call('echo')))
  for (const { error } of answers) if (error !== undefined && error.data.code !== 'RATE_LIMITED') throw new Error(JSON.stringify(error))
  return answers.filter(({ error }) => error === undefined).length
}

for (const [store, open] of Object.entries(stores)) {
  t.test(store, async (t) => {
    const echo = { prepare: (ds: { rpc: { register (name: string, handler: () => number): void } }) => { ds.rpc.register('echo', () => 1) } }

    t.test('50 calls at a limit of 10, on one node', async (t) => {
      const a = await node(t, { stateBackend: open()(), rateLimit: ten, ...echo })
      t.equal(await admitted([await a.connect()]), 10)
      t.equal(await admitted([await a.connect(), await a.connect()]), 0, 'and on others of the key, none')
      t.equal(a.ds.metrics.snapshot().rateLimited, 90)
    })

    t.test('split over two nodes', async (t) => {
      const backend = open()
      const [a, b] = await cluster(t, 2, { rateLimit: ten, ...echo }, [backend(), backend()])
      t.equal(await admitted([await a!.connect(), await b!.connect(), await a!.connect(), await b!.connect()]), 10)
    })

    t.test('frames of a connection keep their order', async (t) => {
      const heard: unknown[] = []
      const { connect } = await node(t, {
        stateBackend: open()(),
        rateLimit: { ...ten, defaultRule: { windowMs: HOUR, maxRequests: 500 }, keyExtractor: (id) => id },
        prepare: (ds) => {
          ds.primitives.events.on('n', ({ data }) => { heard.push(data) })
          ds.rpc.register('n', (n) => { heard.push(n); return n })
        }
      })
      const wire = await connect()
      for (let n = 0; n < 300; n++) {
        if (n % 3 === 0) wire.send(EVENT_C2S, 0, { event: 'n', data: n })
        else wire.send(RPC_REQ, n, { method: 'n', params: n, correlationId: n })
      }
      await wire.ping()
      t.strictSame(heard, Array.from({ length: 300 }, (_, n) => n))
    })

    t.test('server code: check, consume and reset, on every node, in buckets of its own', async (t) => {
      const backend = open()
      const [a, b] = await cluster(t, 2, { rateLimit: ten, ...echo }, [backend(), backend()])
      const [one, two] = [a!.ds.primitives.rateLimiter, b!.ds.primitives.rateLimiter]
      const rule = { windowMs: HOUR, maxRequests: 10 }
      for (const key of ['everyone', '\neveryone', 'frames:\neveryone']) t.match(await one.consume(key, rule, 10), { allowed: true, remaining: 0 })
      t.equal(await admitted([await a!.connect()]), 10, 'frames do not meet them')
      for (const key of ['everyone', 'frames:\neveryone']) await two.reset(key)
      t.equal(await admitted([await a!.connect()]), 0)
      t.match(await two.consume('k', rule, 7), { allowed: true, remaining: 3 })
      t.match(await one.consume('k', rule, 4), { allowed: false, remaining: 3, retryAfter: Number })
      t.match(await one.check('k', rule), { allowed: true, remaining: 3 })
      t.match(await two.consume('k', rule), { allowed: true, remaining: 2 })
      await t.rejects(one.consume('k', rule, 11), RangeError)
      for (const wrong of [-1, 1.5, NaN]) await t.rejects(one.consume('k', rule, wrong), TypeError)
      await t.rejects(one.consume('k', { windowMs: 0, maxRequests: 1 }), TypeError)
      await t.rejects(one.check(5 as never, rule), TypeError)
      await two.reset('k')
      t.match(await one.check('k', rule), { allowed: true, remaining: 10 })
      t.match(await one.consume('k', { windowMs: HOUR, maxRequests: 0 }, 0), { allowed: false })
    })
  })
}

t.test('shared limits: a process that stands still does not take its store for one that does not answer', async (t) => {
  const backend = stores.redis!()
  const standStill = (): void => { Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000) }
  const { connect, ds } = await node(t, {
    stateBackend: backend(),
    rateLimit: { ...ten, timeoutMs: 500, keyExtractor: () => { setImmediate(standStill); return 'everyone' } },
    prepare: (ds) => { ds.rpc.register('echo', () => 1) }
  })
  const wire = await connect()
  const codes = [(await wire.call('echo')).result, (await wire.call('echo')).result]
  t.strictSame(codes, [1, 1])
  t.equal(ds.metrics.snapshot().rateLimitFallbacks, 0)
})

t.test('shared limits: a connection\'s own limits cost no call of the store', async (t) => {
  const asked: string[] = []
  const stateBackend = stores.redis!()()
  const { consume } = stateBackend
  stateBackend.consume = (bucket, ...rest) => { asked.push(bucket); return consume!.call(stateBackend, bucket, ...rest) }
  const { connect, ds } = await node(t, { stateBackend, rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 10 } }, prepare: (ds) => { ds.rpc.register('echo', () => 1) } })
  t.equal(await admitted([await connect()]), 10)
  t.strictSame(asked, [])
  await ds.primitives.rateLimiter.consume('k', ten.defaultRule)
  t.equal(asked.length, 1, 'and a shared decision is one')
})

/** A limiter whose decisions the test makes; `fails` and `hangs` say how it goes on without. */
class Judge implements RateLimiter {
  readonly asked: Array<{ key: string, decide (result: RateLimitResult): void, fail (error: Error): void }> = []
  readonly calls: string[] = []
  /** Given to all from now on, at once. */
  verdict: RateLimitResult | undefined
  connect?: () => Promise<void>
  async check (): Promise<RateLimitResult> { return yes }
  async reset (): Promise<void> {}
  async close (): Promise<void> { this.calls.push('close') }
  async consume (key: string): Promise<RateLimitResult> {
    return await new Promise((resolve, reject) => {
      this.asked.push({ key, decide: resolve, fail: reject })
      if (this.verdict !== undefined) resolve(this.verdict)
    })
  }
}

const yes: RateLimitResult = { allowed: true, remaining: 1, resetAt: 0 }
const no: RateLimitResult = { allowed: false, remaining: 0, resetAt: 0, retryAfter: 77 }

t.test('shared limits: a limiter of the user\'s', async (t) => {
  t.test('decides on every frame; others are not held up, and the order stays', async (t) => {
    const judge = new Judge()
    const heard: unknown[] = []
    const { connect } = await node(t, { rateLimiter: judge, rateLimit: { timeoutMs: 60_000 }, prepare: (ds) => { ds.primitives.events.on('n', ({ data }) => { heard.push(data) }) } })
    const [a, b] = [await connect(), await connect()]
    for (let n = 0; n < 3; n++) a.send(EVENT_C2S, n + 1, { event: 'n', data: n })
    a.send(PING, 9, null)
    await until(() => judge.asked.length === 3)
    b.send(EVENT_C2S, 1, { event: 'n', data: 'b' })
    await until(() => judge.asked.length === 4)
    t.equal(new Set(judge.asked.map(({ key }) => key)).size, 2, 'a key for each connection')
    judge.asked[3]!.decide(yes)
    await b.ping()
    t.strictSame(heard, ['b'], 'another connection is not held up')
    judge.asked[2]!.decide(yes)
    judge.asked[1]!.decide(no)
    await b.ping()
    t.strictSame(heard, ['b'], 'the second waits for the first')
    judge.asked[0]!.decide(yes)
    t.match(await a.waitFor(({ opcode }) => opcode === ERROR || opcode === PONG), { opcode: ERROR, id: 2, payload: { code: 'RATE_LIMITED', retryAfter: 77 } })
    await a.nextOf(PONG)
    t.strictSame(heard, ['b', 0, 2])
  })

  t.test('what waits is bounded, then BUSY, and who goes on is closed', async (t) => {
    const judge = new Judge()
    const { connect, ds } = await node(t, { rateLimiter: judge, rateLimit: { timeoutMs: 60_000 }, compression: false, prepare: (ds) => { ds.rpc.register('echo', () => 1) }, maxCallsInFlight: 2000 })
    const wire = await connect()
    for (let id = 1; id <= 1002; id++) wire.send(RPC_REQ, id, { method: 'echo', correlationId: id })
    t.match(await wire.nextOf(RPC_RES), { id: 1001, payload: { error: { code: -32030, data: { code: 'BUSY', retryAfter: 100 } } } })
    t.match(await wire.ask(PING, null), { opcode: ERROR, payload: { code: 'BUSY', retryAfter: 100 } })
    t.equal(judge.asked.length, 1000, 'no decision is asked for what is refused')
    for (const { decide } of judge.asked) decide(yes)
    t.match(await wire.ask(PING, null), { opcode: PONG })
    t.equal(wire.received.filter(({ opcode, payload }) => opcode === RPC_RES && payload.result === 1).length, 1000)
    for (let id = 1; id <= 2100; id++) wire.send(RPC_REQ, id, { method: 'echo', correlationId: id })
    t.equal((await wire.closed).code, 4429)
    t.ok(ds.metrics.snapshot().rateLimited > 1000)
  })

  t.test('who leaves while it decides has been heard, and then has left', async (t) => {
    const judge = new Judge()
    const story: unknown[] = []
    const { connect, ds } = await node(t, {
      rateLimiter: judge,
      rateLimit: { timeoutMs: 60_000 },
      prepare: (ds) => {
        ds.primitives.events.on('bye', () => { story.push('bye') })
        ds.addHook('onDisconnect', () => { story.push('gone') })
      }
    })
    const wire = await connect()
    wire.send(EVENT_C2S, 0, { event: 'bye' })
    await wire.close()
    t.strictSame(story, [])
    judge.asked[0]!.decide(yes)
    await until(() => ds.transport.getConnectionCount() === 0)
    t.strictSame(story, ['bye', 'gone'])
  })

  t.test('connect is awaited; only what was connected is closed', async (t) => {
    const judge = new Judge()
    judge.connect = async () => { judge.calls.push('connect') }
    const a = await node(t, { rateLimiter: judge })
    t.strictSame(judge.calls, ['connect'])
    await a.ds.close()
    t.strictSame(judge.calls, ['connect', 'close'])
    const other = new Judge()
    const b = await node(t, { rateLimiter: other })
    await b.ds.close()
    t.strictSame(other.calls, [])
  })

  for (const [onBackendError, passes] of [['local', 2], ['allow', 6], ['deny', 0]] as const) {
    t.test(`late or broken, with ${onBackendError}`, async (t) => {
      const judge = new Judge()
      const { connect, ds, logs } = await node(t, { rateLimiter: judge, rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 2 }, timeoutMs: 50, onBackendError }, prepare: (ds) => { ds.rpc.register('echo', () => 1) } })
      const wire = await connect()
      const answers = [await wire.call('echo')]
      for (let i = 0; i < 5; i++) answers.push(await wire.call('echo'))
      t.equal(answers.filter(({ result }) => result === 1).length, passes)
      t.equal(ds.metrics.snapshot().rateLimitFallbacks, 6)
      t.equal(logs.filter((line) => line.includes('gives no answer')).length, 1)
      await until(() => judge.asked.at(-1)!.key === 'probe')
      judge.verdict = yes
      await until(() => logs.some((line) => line.includes('decided on 6 frames')))
      judge.verdict = no
      t.match((await wire.call('echo')).error.data, { code: 'RATE_LIMITED', retryAfter: 77 })
      t.not(judge.asked.at(-1)!.key, 'probe')
    })
  }

  t.test('one that comes and goes does not admit everything anew each time', async (t) => {
    const judge = new Judge()
    const { connect, logs } = await node(t, { rateLimiter: judge, rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 2 }, timeoutMs: 60_000 }, prepare: (ds) => { ds.rpc.register('echo', () => 1) } })
    const wire = await connect()
    let admitted = 0
    for (let outage = 1; outage <= 3; outage++) {
      const answer = wire.call('echo')
      await until(() => judge.asked.at(-1)?.key.startsWith('frames:') === true)
      judge.asked.at(-1)!.fail(new Error('away'))
      for (const { result } of [await answer, await wire.call('echo'), await wire.call('echo')]) if (result === 1) admitted++
      await until(() => judge.asked.at(-1)!.key === 'probe')
      judge.asked.at(-1)!.decide(yes)
      await until(() => logs.filter((line) => line.includes('answers again')).length === outage)
    }
    t.equal(admitted, 2)
  })

  t.test('one that answers rubbish has failed; a refusal that says no time is one for a window', async (t) => {
    const answers: unknown[] = [undefined, null, 'yes', {}, { allowed: 'no' }, { allowed: 1 }, { allowed: false }, { allowed: false, retryAfter: NaN }, { allowed: false, retryAfter: Infinity }, { allowed: false, retryAfter: 'soon' }]
    for (const answer of answers) {
      const isRefusal = (answer as { allowed?: unknown } | null)?.allowed === false
      for (const consume of [() => answer, async () => answer]) {
        const { connect, ds } = await node(t, { rateLimiter: Object.assign(new Judge(), { consume }) as Judge, rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 2 }, onBackendError: 'deny' } })
        const wire = await connect()
        t.match((await wire.call('echo')).error, { data: { code: 'RATE_LIMITED', retryAfter: isRefusal ? HOUR : 1000 } }, JSON.stringify(answer))
        t.equal(ds.metrics.snapshot().rateLimitFallbacks, isRefusal ? 0 : 1)
      }
    }
  })

  t.test('a DefaultRateLimiter over another backend', async (t) => {
    const backend = stores.redis!()
    const nodes = [await node(t, { rateLimiter: new DefaultRateLimiter(backend()), rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 3 }, timeoutMs: 60_000 } }), await node(t, { rateLimiter: new DefaultRateLimiter(backend()) })]
    const rule = { windowMs: HOUR, maxRequests: 5 }
    for (const { ds } of nodes) t.match(await ds.primitives.rateLimiter.consume('k', rule, 2), { allowed: true })
    t.match(await nodes[0]!.ds.primitives.rateLimiter.consume('k', rule, 2), { allowed: false, remaining: 1 })
    const wire = await nodes[0]!.connect()
    const codes = []
    for (let i = 0; i < 4; i++) codes.push((await wire.call('unknown')).error.code)
    t.strictSame(codes, [-32601, -32601, -32601, -32029])
  })
})
