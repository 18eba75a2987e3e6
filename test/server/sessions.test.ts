import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import type { DatasoleServerOptions, SessionOptions } from '../../plugins/server.js'
import { DatasoleServer } from '../../plugins/server.js'
import { FiveMethods, Gate, ShakyBackend } from '../helpers/backends.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { node, storeNode } from '../helpers/nodes.js'
import { seed } from '../helpers/random.js'
import { stores } from '../helpers/stores.js'
import { until } from '../helpers/until.js'

type Test = Parameters<typeof storeNode>[0]
type Change = [userId: string, key: string, value: unknown, version: number]

/** Nothing reaches the backend unless it is flushed. */
const MANUAL: SessionOptions = { flushThreshold: 1_000_000, flushIntervalMs: 1_000_000 }

async function start (t: Test, session: SessionOptions = MANUAL, options: DatasoleServerOptions = {}) {
  const ds = await storeNode(t, { session, ...options })
  return { ds, sessions: ds.primitives.sessions, logs: ds.logs }
}

type Sessions = DatasoleServer['primitives']['sessions']

/** What the backend has, as a node sees it that knows nothing. */
async function stored (t: Test, options: DatasoleServerOptions, userId = 'ann'): Promise<Record<string, unknown>> {
  const { sessions } = await start(t, MANUAL, options)
  return await sessions.restore({ userId })
}

/** Time goes by for what is loaded; the clock is never set back while something runs. */
function later (t: Test, ms: number): void {
  const { now } = performance
  performance.now = () => now.call(performance) + ms
  t.teardown(() => { performance.now = now })
}

function changesOf (sessions: Sessions): Change[] {
  const changes: Change[] = []
  sessions.onChange((...change) => { changes.push(change) })
  return changes
}

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: the examples of the API page`, async (t) => {
    const lines: string[] = []
    const { ds, connect } = await start(t, {
      session: { flushThreshold: 5, flushIntervalMs: 2000, ttlMs: 3_600_000, enableChangeStream: true },
      authHandler: async () => ({ authenticated: true, userId: 'user-123' }),
      prepare: (ds) => {
        ds.rpc.register('visit', async (_params, ctx) => {
          const state = await ds.primitives.sessions.restore(ctx.connection)
          ds.primitives.sessions.set('user-123', 'lastPage', '/dashboard')
          const page = ds.primitives.sessions.get<string>('user-123', 'lastPage')
          return { state, page }
        })
      }
    })
    ds.primitives.sessions.onChange((userId, key, value, version) => {
      lines.push(`${userId} → ${key} = ${JSON.stringify(value)} (v${version})`)
    })
    const wire = await connect()
    t.strictSame((await wire.call('visit')).result, { state: {}, page: '/dashboard' })
    t.match(lines, [/^user-123 → lastPage = "\/dashboard" \(v\d+\)$/])
    // it outlives the connection
    wire.socket.close()
    await once(wire.socket, 'close')
    const again = await connect()
    t.strictSame((await again.call('visit')).result, { state: { lastPage: '/dashboard' }, page: '/dashboard' })
    t.equal(ds.primitives.sessions.server, ds)
  })
}

t.test('sessions: values are copied in and out, whatever their keys', async (t) => {
  const { sessions } = await start(t)
  const mine = { list: [1], at: new Date(0), nothing: undefined }
  sessions.set('ann', 'mine', mine)
  mine.list.push(2)
  const first = sessions.get<{ list: number[] }>('ann', 'mine')!
  t.strictSame(first, { list: [1], at: '1970-01-01T00:00:00.000Z' })
  first.list.push(3)
  t.strictSame(sessions.get('ann', 'mine'), { list: [1], at: '1970-01-01T00:00:00.000Z' })
  const restored = await sessions.restore<{ mine: { list: number[] } }>({ userId: 'ann' })
  restored.mine!.list.push(4)
  t.strictSame(sessions.get<{ list: number[] }>('ann', 'mine')!.list, [1])
  for (const key of ['__proto__', 'constructor', 'toString', '', 'a/b~c', '\ud800']) {
    t.equal(sessions.get('__proto__', key), undefined)
    sessions.set('__proto__', key, { key })
  }
  await sessions.flush('__proto__')
  for (const key of ['__proto__', 'constructor', 'toString', '', 'a/b~c', '\ud800']) t.strictSame(sessions.get('__proto__', key), { key })
  t.equal(sessions.delete('__proto__', '__proto__'), true)
  await sessions.flush('__proto__')
  t.equal(Object.keys(await sessions.restore({ userId: '__proto__' })).length, 5)
  t.equal(Object.getPrototypeOf(await sessions.restore({ userId: '__proto__' })), Object.prototype)
})

t.test('sessions: what cannot be is refused, with a code, and changes nothing', async (t) => {
  const { sessions } = await start(t, MANUAL, { maxJsonDepth: 3 })
  for (const userId of [undefined, ''] as string[]) {
    await t.rejects(sessions.restore({ userId }), { code: 'NO_USER_ID', message: /userId/ })
    await t.rejects(sessions.restore(undefined as never), { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /sessions\.restore/ })
    await t.rejects(sessions.flush(userId), { code: 'NO_USER_ID' })
    t.throws(() => sessions.get(userId, 'k'), { code: 'NO_USER_ID' })
    t.throws(() => { sessions.set(userId, 'k', 1) }, { code: 'NO_USER_ID' })
    t.throws(() => sessions.delete(userId, 'k'), { code: 'NO_USER_ID' })
  }
  t.throws(() => { sessions.set(5 as never, 'k', 1) }, { code: 'INVALID_ARGUMENT' })
  t.throws(() => { sessions.set('ann', 5 as never, 1) }, { code: 'INVALID_ARGUMENT' })
  t.throws(() => { sessions.set('ann', 'a/b', { c: [1n] }) }, { code: 'INVALID_JSON', message: /"\/a~1b\/c\/0"/ })
  t.throws(() => { sessions.set('ann', 'k', undefined) }, { code: 'INVALID_JSON' })
  t.throws(() => { sessions.set('ann', 'k', [[[[]]]]) }, { code: 'TOO_DEEP' })
  sessions.set('ann', 'deep', [[[1]]])
  t.throws(() => sessions.onChange(() => {}), { code: 'NOT_ENABLED', message: /session.*enableChangeStream/ })
  sessions.set('ann', 'half', 'x'.repeat(140_000))
  t.throws(() => { sessions.set('ann', 'other half', 'x'.repeat(140_000)) }, { code: 'LIMIT_EXCEEDED', name: 'RangeError' })
  await sessions.flush('ann')
  t.throws(() => { sessions.set('ann', 'other half', 'x'.repeat(140_000)) }, { code: 'LIMIT_EXCEEDED' })
  sessions.set('ann', 'half', 'y'.repeat(200_000))
  t.equal(sessions.delete('ann', 'half'), true)
  sessions.set('ann', 'other half', 'x'.repeat(200_000))
  await sessions.flush('ann')
  t.strictSame(Object.keys(await sessions.restore({ userId: 'ann' })).sort(), ['deep', 'other half'])
})

t.test('sessions: the backend has it after so many changes, or after a while', async (t) => {
  const shaky = new ShakyBackend()
  const { sessions } = await start(t, { flushThreshold: 3, flushIntervalMs: 1_000_000 }, { stateBackend: shaky })
  await sessions.restore({ userId: 'ann' })
  sessions.set('ann', 'a', 1)
  sessions.set('ann', 'b', 2)
  await setTimeout(50)
  t.equal(shaky.commits, 0)
  sessions.delete('ann', 'a')
  await until(() => shaky.commits === 1)
  t.strictSame(await stored(t, { stateBackend: shaky.memory }), { b: 2 })
  for (let i = 0; i < 30; i++) sessions.set('bob', 'n', i)
  await sessions.flush('bob')
  t.ok(shaky.commits <= 3, 'changes that wait go together')

  const other = await start(t, { flushIntervalMs: 20 }, { stateBackend: shaky })
  const { commits } = shaky
  const before = performance.now()
  other.sessions.set('cid', 'c', 3)
  await until(() => shaky.commits > commits)
  t.ok(performance.now() - before >= 19)
})

t.test('sessions: flush resolves once what was set before is there, and also where nothing is', async (t) => {
  const shaky = new ShakyBackend()
  const gate = new Gate()
  const { sessions } = await start(t, MANUAL, { stateBackend: shaky })
  await sessions.flush('nobody')
  sessions.set('ann', 'a', 1)
  shaky.before = (method) => method === 'commit' ? gate.pass() : undefined
  const flushes = [sessions.flush('ann')]
  await gate.arrival()
  sessions.set('ann', 'b', 2)
  flushes.push(sessions.flush('ann'), sessions.flush('ann'))
  gate.open()
  await flushes[0]
  t.equal(shaky.commits, 1)
  await Promise.all(flushes)
  t.equal(shaky.commits, 2)
  t.strictSame(await stored(t, { stateBackend: shaky.memory }), { a: 1, b: 2 })
})

t.test('sessions: set and delete without restore are merged with what is there', async (t) => {
  const open = stores.memory!()
  const a = await start(t, MANUAL, { stateBackend: open() })
  for (const key of ['x', 'y', 'z']) a.sessions.set('ann', key, 'old')
  await a.sessions.flush('ann')
  const b = await start(t, MANUAL, { stateBackend: open() })
  t.equal(b.sessions.get('ann', 'x'), undefined, 'not loaded')
  b.sessions.set('ann', 'x', 'new')
  t.equal(b.sessions.get('ann', 'x'), 'new')
  t.equal(b.sessions.delete('ann', 'y'), false, 'not known to be there')
  await b.sessions.flush('ann')
  t.equal(b.sessions.delete('ann', 'y'), false)
  t.strictSame(await a.sessions.restore({ userId: 'ann' }), { x: 'new', z: 'old' })
})

t.test('a session that nobody uses goes, when what it has is stored', async (t) => {
  const shaky = new ShakyBackend()
  const { ds, connect } = await node(t, { session: MANUAL, stateBackend: shaky, authHandler: () => ({ authenticated: true, userId: 'ann' }), prepare: (ds) => { ds.addHook('onConnect', async (connection) => { await ds.primitives.sessions.restore(connection) }) } })
  const { sessions } = ds.primitives
  const wires = [await connect(), await connect()]
  sessions.set('ann', 'k', 1)
  sessions.set('bob', 'k', 1)
  await sessions.flush('bob')
  wires[0]!.socket.close()
  await once(wires[0]!.socket, 'close')
  await until(() => !shaky.open.has('session:bob'))
  t.equal(sessions.get('bob', 'k'), undefined)
  t.equal(sessions.get('ann', 'k'), 1, 'with a connection it stays')
  t.equal(shaky.commits, 1)
  wires[1]!.socket.close()
  await until(() => shaky.commits === 2)
  t.equal(sessions.get('ann', 'k'), 1, 'for a while it is still there: hooks and handlers may want it')
  later(t, 10_000)
  sessions.set('bob', 'k', 2)
  await sessions.flush('bob')
  await until(() => !shaky.open.has('session:bob'))
  t.equal(sessions.get('ann', 'k'), 1, 'longer than what was only written')
  later(t, 60_000)
  await until(() => !shaky.open.has('session:ann'))
  t.equal(sessions.get('ann', 'k'), undefined)
  t.strictSame(await sessions.restore({ userId: 'ann' }), { k: 1 })
})

t.test('sessions: nor does one that is being restored, however long the backend takes', async (t) => {
  const shaky = new ShakyBackend()
  const gate = new Gate()
  const { sessions } = await start(t, MANUAL, { stateBackend: shaky })
  for (const userId of ['ann', 'bob']) { sessions.set(userId, 'k', 1); await sessions.flush(userId) }
  shaky.before = (method, key) => method === 'read' && key === 'session:ann' ? gate.pass() : undefined
  const restored = sessions.restore({ userId: 'ann' })
  // bob's goes no sooner than ann's would
  await until(() => !shaky.open.has('session:bob'))
  await setTimeout(1100)
  gate.open()
  t.strictSame(await restored, { k: 1 })
  t.equal(sessions.get('ann', 'k'), 1)
  later(t, 60_000)
  await until(() => !shaky.open.has('session:ann'))
})

t.test('sessions: nor does one that an onConnect hook restored, however long the hooks take', async (t) => {
  const shaky = new ShakyBackend()
  const gate = new Gate()
  const { ds, connect } = await node(t, {
    session: MANUAL,
    stateBackend: shaky,
    authHandler: ({ headers }) => ({ authenticated: true, userId: headers.authorization! }),
    prepare: (ds) => {
      ds.addHook('onConnect', async (connection) => { await ds.primitives.sessions.restore(connection) })
      ds.addHook('onConnect', ({ userId }) => userId === 'ann' ? gate.pass() : undefined)
      ds.addHook('onConnect', ({ userId }) => { if (userId === 'eve') throw new Error('refused') })
      ds.rpc.register('read', (_params, ctx) => ds.primitives.sessions.get(ctx.connection.userId!, 'k'))
    }
  })
  const { sessions } = ds.primitives
  for (const userId of ['ann', 'eve', 'bob']) { sessions.set(userId, 'k', 1); await sessions.flush(userId) }
  const connecting = connect({ headers: { authorization: 'ann' } })
  await gate.arrival()
  await t.rejects(connect({ headers: { authorization: 'eve' } }))
  await sessions.restore({ userId: 'bob' })
  later(t, 61_000)
  // these go no sooner than ann's would
  await until(() => !shaky.open.has('session:eve') && !shaky.open.has('session:bob'))
  gate.open()
  const wire = await connecting
  t.equal((await wire.call('read')).result, 1)
  wire.socket.close()
  await once(wire.socket, 'close')
  later(t, 61_000)
  await until(() => !shaky.open.has('session:ann'))
})

t.test('sessions of users without connections are bounded', async (t) => {
  const shaky = new ShakyBackend()
  const { sessions } = await start(t, MANUAL, { stateBackend: shaky })
  for (let i = 0; i < 10_000; i++) sessions.set(`user ${i}`, 'k', i)
  t.throws(() => { sessions.set('one more', 'k', 1) }, { code: 'BUSY' })
  await t.rejects(sessions.restore({ userId: 'one more' }), { code: 'BUSY' })
  sessions.set('user 5', 'k', 'those that are here can be written')
  await Promise.all(Array.from({ length: 100 }, (_, i) => sessions.flush(`user ${i}`)))
  await until(() => { try { sessions.set('one more', 'k', 1); return true } catch { return false } })
  t.pass('what is stored makes room')
})

t.test('sessions: close stores everything, and then nothing can be set', async (t) => {
  for (const kind of ['memory', 'redis', 'postgres']) {
    const open = stores[kind]!()
    const { ds, sessions } = await start(t, MANUAL, { stateBackend: open() })
    for (let i = 0; i < 20; i++) sessions.set(`user ${i}`, 'k', i)
    await ds.close()
    t.throws(() => { sessions.set('ann', 'k', 1) }, { code: 'CLOSED' })
    t.strictSame(await stored(t, { stateBackend: open() }, 'user 19'), { k: 19 }, kind)
  }
  const shaky = new ShakyBackend()
  const { ds, sessions, logs } = await start(t, MANUAL, { stateBackend: shaky, closeTimeoutMs: 300 })
  sessions.set('ann', 'k', 1)
  sessions.set('bob', 'k', 1)
  await sessions.flush('bob')
  shaky.before = () => { throw new Error('away') }
  await ds.close()
  t.ok(logs.some((line) => line.includes('sessions of 1 users')), 'what was lost is said')
})

t.test('sessions: a flush that fails is tried again until it succeeds; it is said once', async (t) => {
  const shaky = new ShakyBackend()
  const { sessions, logs } = await start(t, { flushThreshold: 1 }, { stateBackend: shaky })
  let [failures, after] = [3, false]
  shaky.before = (method) => { if (method === 'commit' && !after && failures-- > 0) throw new Error('away') }
  shaky.after = (method) => { if (method === 'commit' && after && failures-- > 0) throw new Error('the answer is lost') }
  for (after of [false, true]) {
    // one whose answer is lost has taken effect
    failures = after ? 1 : 3
    sessions.set('ann', `a${after}`, 1)
    sessions.set('ann', `b${after}`, 2)
    await until(() => failures <= 0)
    await sessions.flush('ann')
    t.equal(logs.filter((line) => line.includes('"level":50')).length, after ? 2 : 1)
  }
  t.strictSame(await stored(t, { stateBackend: shaky.memory }), { afalse: 1, bfalse: 2, atrue: 1, btrue: 2 })
})

t.test('sessions: who asks for a flush or a restore is told that it fails', async (t) => {
  const shaky = new ShakyBackend()
  const { sessions } = await start(t, MANUAL, { stateBackend: shaky })
  sessions.set('ann', 'k', 1)
  shaky.before = (method) => { if (method === 'commit') throw new Error('away') }
  await t.rejects(sessions.flush('ann'), { message: 'away' })
  t.equal(sessions.get('ann', 'k'), 1)
  shaky.before = () => { throw new Error('away') }
  await t.rejects(sessions.restore({ userId: 'bob' }), { message: 'away' })
  sessions.set('bob', 'k', 1)
  await t.rejects(sessions.flush('bob'), { message: 'away' })
  shaky.before = () => {}
  await until(async () => (await stored(t, { stateBackend: shaky.memory }, 'bob')).k === 1)
})

for (const [kind, make] of Object.entries(stores)) {
  t.test(`${kind}: changes are reported on every node that has the session`, async (t) => {
    const open = make()
    const [a, b] = [await start(t, { ...MANUAL, enableChangeStream: true }, { stateBackend: open() }), await start(t, { ...MANUAL, enableChangeStream: true }, { stateBackend: open() })]
    a.sessions.set('ann', 'before', 1)
    await a.sessions.flush('ann')
    const [here, there] = [changesOf(a.sessions), changesOf(b.sessions)]
    a.sessions.onChange(() => { throw new Error('a listener of mine') })
    a.sessions.onChange(async () => { throw new Error('an async one') })
    const end = a.sessions.onChange(() => { t.fail('ended') })
    end()
    await b.sessions.restore({ userId: 'ann' })
    a.sessions.set('ann', 'k', { n: 1 })
    t.match(here, [['ann', 'k', { n: 1 }, Number]], 'at once')
    ;(here[0]![2] as { n: number }).n = 666
    a.sessions.delete('ann', 'before')
    await a.sessions.flush('ann')
    await until(() => there.length === 2)
    const known = there.sort(([, k], [, l]) => k < l ? -1 : 1)
    t.match(known, [['ann', 'before', undefined, here[1]![3]], ['ann', 'k', { n: 1 }, here[0]![3]]])
    b.sessions.set('ann', 'k', 2)
    await b.sessions.flush('ann')
    await until(() => here.length === 3)
    t.strictSame(here[2], there[2])
    t.ok(here[2]![3] > here[0]![3], 'versions grow')
    t.equal(a.sessions.get('ann', 'k'), 2)
    for (const which of ['a listener of mine', 'an async one']) t.ok(a.logs.some((line) => line.includes(which)), which)
  })

  t.test(`${kind}: two nodes write one session, and no write is lost that is not overwritten`, async (t) => {
    t.comment(`SEED=${seed}`)
    const step = fc.record({ node: fc.nat(1), key: fc.constantFrom('a', 'b', 'c', 'own'), kind: fc.constantFrom('set', 'set', 'set', 'delete', 'flush', 'wait') })
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const open = make()
      const teardowns: Array<() => unknown> = []
      const scope = { teardown: (fn: () => unknown) => { teardowns.push(fn) } }
      try {
        const nodes = [await start(scope, MANUAL, { stateBackend: open() }), await start(scope, MANUAL, { stateBackend: open() })]
        if (steps.length % 2 === 0) for (const { sessions } of nodes) await sessions.restore({ userId: 'ann' })
        const written = [new Map<string, unknown>(), new Map<string, unknown>()]
        const flushes: Array<Promise<void>> = []
        for (const [i, { node, key: name, kind }] of steps.entries()) {
          const { sessions } = nodes[node]!
          const key = name === 'own' ? `own ${node}` : name
          if (kind === 'set') {
            sessions.set('ann', key, i)
            written[node]!.set(key, i)
          } else if (kind === 'delete') {
            sessions.delete('ann', key)
            written[node]!.set(key, undefined)
          } else if (kind === 'flush') {
            flushes.push(sessions.flush('ann'))
          } else {
            await setTimeout(1)
          }
        }
        await Promise.all(flushes)
        for (const { sessions } of nodes) await sessions.flush('ann')
        for (const { sessions } of nodes) await sessions.restore({ userId: 'ann' })
        const truth = await stored(scope, { stateBackend: open() })
        for (const key of ['a', 'b', 'c', 'own 0', 'own 1']) {
          const candidates = written.flatMap((map) => map.has(key) ? [map.get(key)] : [])
          if (candidates.length > 0 && !candidates.includes(truth[key])) throw new Error(`${key} is ${String(truth[key])}, and was last ${candidates.join(' or ')}`)
          for (const { sessions } of nodes) await until(() => sessions.get('ann', key) === truth[key])
        }
      } finally {
        for (const fn of teardowns) await fn()
      }
    }), { seed, numRuns: kind === 'memory' ? 100 : 20 })
  })
}

t.test('sessions: clocks that jump decide nothing: who has seen a write writes later', async (t) => {
  const now = Date.now
  t.teardown(() => { Date.now = now })
  const shift = async (hours: number, fn: () => unknown): Promise<void> => {
    Date.now = () => now() + hours * 3_600_000
    await fn()
    Date.now = now
  }
  const open = stores.memory!()
  const [a, b] = [await start(t, MANUAL, { stateBackend: open() }), await start(t, MANUAL, { stateBackend: open() })]
  for (const { sessions } of [a, b]) await sessions.restore({ userId: 'ann' })
  await shift(1, async () => { a.sessions.set('ann', 'k', 'an hour ahead'); await a.sessions.flush('ann') })
  await until(() => b.sessions.get('ann', 'k') === 'an hour ahead')
  b.sessions.set('ann', 'k', 'now')
  await b.sessions.flush('ann')
  await until(() => a.sessions.get('ann', 'k') === 'now')
  await shift(-1, async () => { a.sessions.set('ann', 'k', 'an hour ago'); await a.sessions.flush('ann') })
  t.strictSame(await stored(t, { stateBackend: open() }), { k: 'an hour ago' })
  // one that has seen nothing, and is behind: what it sets without having restored counts from when it has
  await shift(-2, async () => {
    const { sessions } = await start(t, MANUAL, { stateBackend: open() })
    sessions.set('ann', 'k', 'two hours ago')
    await sessions.flush('ann')
  })
  t.strictSame(await stored(t, { stateBackend: open() }), { k: 'two hours ago' })
  // nor does a clock that is beyond all reason, or a timestamp that nothing could follow
  await shift(8000 * 365 * 24, async () => {
    for (const value of ['far ahead', 'and again']) { a.sessions.set('ann', 'k', value); await a.sessions.flush('ann') }
  })
  await until(() => b.sessions.get('ann', 'k') === 'and again')
  const raw = stores.memory!()()
  await raw.commit!('session:ann', { base: await raw.read!('session:ann'), commits: [{ id: 'x', patches: JSON.stringify([{ op: 'add', path: '', value: { k: [2 ** 60, 'x', 'tampered'] } }]) }] })
  const c = await start(t, MANUAL, { stateBackend: raw })
  for (const { sessions } of [b, c]) {
    await sessions.restore({ userId: 'ann' })
    for (const userId of ['ann', 'bob']) {
      for (let i = 0; i < 3; i++) {
        sessions.set(userId, 'k', i)
        await sessions.flush(userId)
        t.equal(sessions.get(userId, 'k'), i)
      }
    }
  }
  t.strictSame(await stored(t, { stateBackend: open() }), { k: 2 })
  t.strictSame(await stored(t, { stateBackend: raw }), { k: 2 })
})

t.test('sessions: what was deleted is remembered for a day, of so many fields, and no longer', async (t) => {
  const now = Date.now
  t.teardown(() => { Date.now = now })
  const backend = stores.memory!()()
  const { sessions } = await start(t, MANUAL, { stateBackend: backend })
  const size = async (): Promise<number> => {
    const { snapshot, commits } = await backend.read!('session:ann')
    return JSON.stringify([snapshot?.value, commits]).length
  }
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 100; i++) sessions.set('ann', `${round} ${i}`, i)
    for (let i = 0; i < 100; i++) sessions.delete('ann', `${round} ${i}`)
    await sessions.flush('ann')
  }
  t.ok(await size() < 400_000)
  Date.now = () => now() + 25 * 3_600_000
  sessions.set('ann', 'k', 1)
  await sessions.flush('ann')
  await sessions.flush('ann')
  const fresh = await start(t, MANUAL, { stateBackend: backend })
  t.strictSame(await fresh.sessions.restore({ userId: 'ann' }), { k: 1 })
  t.ok(await size() < 200, 'a day later it is all gone')
})

t.test('what is remembered of long names does not use up a session', async (t) => {
  const { sessions } = await start(t)
  const name = (i: number): string => `${i}`.padEnd(2000, 'x')
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 50; i++) sessions.set('ann', name(round * 50 + i), i)
    await sessions.flush('ann')
    for (let i = 0; i < 50; i++) sessions.delete('ann', name(round * 50 + i))
    await sessions.flush('ann')
  }
  sessions.set('ann', 'large', 'x'.repeat(150_000))
  await sessions.flush('ann')
  t.strictSame(Object.keys(await sessions.restore({ userId: 'ann' })), ['large'])
})

t.test('sessions: five methods are enough on one node', async (t) => {
  const backend = new FiveMethods()
  const { ds, sessions } = await start(t, { ttlMs: 3000 }, { stateBackend: backend })
  sessions.set('ann', 'k', 1)
  await ds.close()
  t.strictSame(await stored(t, { stateBackend: backend }), { k: 1 })
  await until(async () => Object.keys(await stored(t, { stateBackend: backend })).length === 0)
  t.pass('and the term is kept')
})

t.test('sessions: close stores what was set without init, where the backend needs none', async (t) => {
  const backend = new FiveMethods()
  const ds = new DatasoleServer({ stateBackend: backend, session: MANUAL, logger: capturedLogger([]) })
  ds.primitives.sessions.set('ann', 'k', 1)
  await ds.close()
  t.throws(() => { ds.primitives.sessions.set('ann', 'k', 2) }, { code: 'CLOSED' })
  t.strictSame(await stored(t, { stateBackend: backend }), { k: 1 })
})

t.test('sessions and state do not meet', async (t) => {
  const { ds, sessions } = await start(t)
  await ds.primitives.state.setState('session:ann', { k: 'state' })
  await ds.primitives.state.setState('ann', { k: 'state' })
  t.strictSame(await sessions.restore({ userId: 'ann' }), {})
  sessions.set('ann', 'k', 'session')
  await sessions.flush('ann')
  t.strictSame(await ds.primitives.state.getState('ann'), { k: 'state' })
})

t.jobs = Object.keys(stores).length // they wait
for (const [kind, make] of Object.entries(stores)) {
  t.test(`${kind}: a session goes ttlMs after the last write or restore, everywhere`, { buffered: true }, async (t) => {
    const open = make()
    const backend = open()
    const options = { ...MANUAL, ttlMs: 4000, enableChangeStream: true }
    const [a, b] = [await start(t, options, { stateBackend: backend }), await start(t, options, { stateBackend: open() })]
    const changes = changesOf(a.sessions)
    a.sessions.set('ann', 'k', 1)
    await a.sessions.flush('ann')
    await a.sessions.restore({ userId: 'ann' }) // else it is evicted there after two seconds
    for (let i = 0; i < 4; i++) {
      await setTimeout(1200)
      t.strictSame(await b.sessions.restore({ userId: 'ann' }), { k: 1 }, 'each restore is a new term')
    }
    t.equal(a.sessions.get('ann', 'k'), 1)
    await until(async () => Object.keys(await stored(t, { stateBackend: open(), session: MANUAL })).length === 0)
    await until(() => changes.length === 2)
    t.match(changes, [['ann', 'k', 1], ['ann', 'k', undefined]])
    for (const { sessions } of [a, b]) {
      await until(() => sessions.get('ann', 'k') === undefined)
      t.equal(sessions.delete('ann', 'k'), false)
    }
    b.sessions.set('ann', 'l', 2)
    await b.sessions.flush('ann')
    t.strictSame(await a.sessions.restore({ userId: 'ann' }), { l: 2 }, 'it starts anew')
    // a memory without a process has no clock that goes on; of the others another process knows
    await until(async () => (await backend.read!('session:ann')).version === 0)
  })
}
