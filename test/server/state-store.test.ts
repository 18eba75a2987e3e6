import fc from 'fast-check'
import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { deepFreeze } from '../../lib/protocol/frozen.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { type CardBoard, cardBoard, movedBoard, movingRecipe } from '../helpers/moving-recipe.js'
import { FiveMethods, Gate, ShakyBackend } from '../helpers/backends.js'
import { capturedLogger } from '../helpers/entrances.js'
import { storeNode } from '../helpers/nodes.js'
import { until } from '../helpers/until.js'

const seed = Number(process.env.SEED ?? Math.trunc(Math.random() * 2 ** 31))
t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

t.test('setState returns RFC 6902 operations that take the old value to the new one', async (t) => {
  const { live } = (await storeNode(t)).primitives
  t.strictSame(await live.setState('k', { a: 1, big: 'x'.repeat(200) }), [{ op: 'replace', path: '', value: { a: 1, big: 'x'.repeat(200) } }])
  t.strictSame(await live.setState('k', { a: 2, big: 'x'.repeat(200) }), [{ op: 'replace', path: '/a', value: 2 }])
  t.strictSame(await live.setState('k', { big: 'x'.repeat(200), a: 2 }), [], 'an equal value, in another order, commits nothing')
  t.strictSame(await live.update('k', (draft) => { (draft as { a: number }).a++ }), [{ op: 'replace', path: '/a', value: 3 }])
  t.strictSame(await live.update('k', () => {}), [])
  t.strictSame(await live.update('k', () => 'a new root'), [{ op: 'replace', path: '', value: 'a new root' }])
  t.equal(await live.getState('k'), 'a new root')
})

t.test('state store: an equal value commits nothing, not even for a key that is written twice at once', async (t) => {
  const ds = await storeNode(t)
  const { live } = ds.primitives
  await Promise.all([live.setState('k', 1), live.setState('k', 1), live.setState('k', 1)])
  t.equal(ds.metrics.snapshot().commits, 1)
})

t.test('state store: patches are the caller\'s own', async (t) => {
  const { live } = (await storeNode(t)).primitives
  const [operation] = await live.setState('k', { list: [1], pad: 'x'.repeat(100) }) as unknown as [{ value: { list: number[] } }]
  operation.value.list.push(2)
  const [second] = await live.setState('k', { list: [1], pad: 'x'.repeat(100), more: { deep: [1] } }) as unknown as [{ value: { deep: number[] } }]
  second.value.deep.push(2)
  t.strictSame(await live.getState('k'), { list: [1], pad: 'x'.repeat(100), more: { deep: [1] } })
})

t.test('state store: the caller\'s object is never kept', async (t) => {
  const { live } = (await storeNode(t)).primitives
  const first = { list: [1] }
  const done = [live.setState('k', first)]
  first.list.push(666) // while the key is still being read
  const second = { list: [2] }
  done.push(live.setState('k', second))
  second.list.push(666) // while it waits behind the first
  await Promise.all(done)
  t.strictSame(await live.getState('k'), { list: [2] })
  const third = { list: [3] }
  const pending = live.setState('k', third)
  third.list.push(666) // while it is being committed
  await pending
  third.list.push(667)
  t.strictSame(await live.getState('k'), { list: [3] })
  const read = await live.getState('k') as { list: number[] }
  read.list.push(668)
  t.strictSame(await live.getState('k'), { list: [3] }, 'nor is what a reader got')
  t.notOk(Object.isFrozen(third) || Object.isFrozen(third.list))
  let kept: { list: number[] } | undefined
  const inner = { list: [4] }
  await live.update('k', () => { kept = inner; return inner })
  kept!.list.push(669)
  t.strictSame(await live.getState('k'), { list: [4] }, 'nor what a recipe returns')
  await live.update('k', (draft) => { (draft as { put: unknown }).put = inner })
  inner.list.push(670)
  t.strictSame(await live.getState('k'), { list: [4], put: { list: [4, 669] } }, 'nor what it puts into the draft')
})

t.test('state store: a recipe edits what it has moved', async (t) => {
  const { live } = (await storeNode(t)).primitives
  await live.setState('board', { ...cardBoard, big: 'x'.repeat(1000) })
  const patches = await live.update('board', (board) => { movingRecipe(board as CardBoard) })
  t.same(await live.getState('board'), { ...movedBoard, big: 'x'.repeat(1000) })
  t.same(patches.map(({ path }) => path).sort(), ['/done/0', '/fresh', '/index/1', '/todo/0', '/todo/0/doneAt', '/todo/2'])
})

t.test('state store: what JSON cannot hold is refused with its path, and nothing is committed', async (t) => {
  const ds = await storeNode(t)
  const { live } = ds.primitives
  await live.setState('k', { ok: 1 })
  const cycle: Record<string, unknown> = {}
  cycle.self = { again: cycle }
  const wrong: Array<[unknown, RegExp]> = [
    [{ a: { b: 1n } }, /"\/a\/b"/], [{ a: [0, NaN] }, /"\/a\/1"/], [{ a: Infinity }, /"\/a"/], [{ 'x/y': () => {} }, /"\/x~1y"/],
    [cycle, /cycle/], [{ m: new Map() }, /Map.*"\/m"/], [{ s: Symbol('s') }, /"\/s"/], [undefined, /undefined/], [[undefined], /"\/0"/], [new Uint8Array(2), /Uint8Array/]
  ]
  for (const [value, message] of wrong) {
    await t.rejects(live.setState('k', value), { name: 'TypeError', code: 'INVALID_JSON', message })
    await t.rejects(live.update('k', () => value === undefined ? { u: [undefined] } : value), { name: 'TypeError', code: 'INVALID_JSON' })
    await t.rejects(Promise.all([live.setState('k', { ok: 1 }), live.setState('k', value)]), { code: 'INVALID_JSON' }, 'also where it has to wait')
  }
  t.strictSame(await live.getState('k'), { ok: 1 })
  t.equal(ds.metrics.snapshot().commits, 1)
  await live.setState('k', { u: undefined, when: new Date(0) })
  t.strictSame(await live.getState('k'), { when: '1970-01-01T00:00:00.000Z' })
})

t.test('maxStateBytes and maxJsonDepth refuse one write and no other', async (t) => {
  const ds = await storeNode(t, { maxStateBytes: 100, maxJsonDepth: 3 })
  const { live } = ds.primitives
  await live.setState('k', 'x'.repeat(98))
  await t.rejects(live.setState('k', 'x'.repeat(99)), { name: 'RangeError', code: 'LIMIT_EXCEEDED', message: /"k" .*101 bytes.*maxStateBytes/ })
  await t.rejects(live.setState('k', 'ü'.repeat(50)), { code: 'LIMIT_EXCEEDED' }, 'bytes, not characters')
  await t.rejects(live.setState('k', { a: { b: [[]] } }), { name: 'RangeError', code: 'TOO_DEEP' })
  await live.setState('k', { a: { b: [] } })
  await t.rejects(live.update('k', (draft) => { (draft as { a: { b: unknown[] } }).a.b.push({}) }), { name: 'RangeError', code: 'TOO_DEEP' })
  await t.rejects(live.update('k', (draft) => { (draft as { a: { c: string } }).a.c = 'x'.repeat(100) }), { name: 'RangeError', code: 'LIMIT_EXCEEDED' })
  const outcomes = await Promise.allSettled([
    live.update('k', (draft) => { (draft as { a: { b: unknown[] } }).a.b.push(1) }),
    live.update('k', (draft) => { (draft as { a: { b: unknown[] } }).a.b.push('x'.repeat(100)) }),
    live.update('k', (draft) => { (draft as { a: { b: unknown[] } }).a.b.push(2) })
  ])
  t.strictSame(outcomes.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled'])
  t.strictSame(await live.getState('k'), { a: { b: [1, 2] } })
})

t.test('state store: writers of one key wait in line; one that fails leaves the others alone', async (t) => {
  const backend = new ShakyBackend()
  const ds = await storeNode(t, { stateBackend: backend })
  const { live } = ds.primitives
  await live.setState('k', { n: 0, log: [] as string[] })
  const gate = new Gate()
  backend.before = (method) => method === 'commit' ? gate.pass() : undefined
  const order: string[] = []
  const write = (name: string, promise: Promise<unknown>): Promise<void> => promise.then(() => { order.push(name) }, (error: Error) => { order.push(`${name}: ${error.message}`) })
  type Value = { n: number, log: string[] }
  const push = (name: string) => (draft: unknown): void => { (draft as Value).log.push(name) }
  const first = write('first', live.update('k', push('first')))
  await gate.arrival()
  const rest = [
    write('a', live.update('k', push('a'))),
    write('broken', live.update('k', (draft) => { push('broken')(draft); (draft as Value).n = 99; throw new Error('no') })),
    write('async', live.update('k', (async () => {}) as never)),
    write('same', live.update('k', () => {})),
    write('b', live.update('k', push('b')))
  ]
  const commits = backend.commits
  gate.open()
  await Promise.all([first, ...rest])
  t.strictSame(await live.getState('k'), { n: 0, log: ['first', 'a', 'b'] })
  t.equal(backend.commits - commits, 1, 'what waited went out together')
  t.strictSame(order.filter((name) => !name.includes(':')), ['first', 'a', 'same', 'b'], 'and is resolved in order')
  t.match(order.find((name) => name.startsWith('broken')), 'no')
  t.match(order.find((name) => name.startsWith('async')), 'synchronous')
})

t.test('state store: a key that has no value gives a recipe undefined; a recipe that is none is refused', async (t) => {
  const { live } = (await storeNode(t)).primitives
  let seen: unknown = 'nothing'
  await live.update('k', (draft) => { seen = draft; return { made: true } })
  t.equal(seen, undefined)
  t.strictSame(await live.getState('k'), { made: true })
  await t.rejects(live.update('k', undefined as never), TypeError)
})

t.test('state store: writes and deletions happen in the order of the calls', async (t) => {
  const { live } = (await storeNode(t)).primitives
  const results = await Promise.all([live.setState('k', 1), live.deleteState('k'), live.deleteState('k'), live.setState('k', { second: 2 }), live.update('k', (draft) => { (draft as { n?: number }).n = 1 })])
  t.strictSame(await live.getState('k'), { second: 2, n: 1 })
  t.strictSame(results.slice(1, 3), [true, false])
  const last = await Promise.all([live.setState('k', 3), live.deleteState('k')])
  t.equal(last[1], true)
  t.equal(await live.getState('k'), undefined, 'a deletion deletes what was written before it')
})

t.test('getState sees only what is committed', async (t) => {
  const backend = new ShakyBackend()
  const { live } = (await storeNode(t, { stateBackend: backend })).primitives
  await live.setState('k', { a: 1 })
  const gate = new Gate()
  backend.before = (method) => method === 'commit' ? gate.pass() : undefined
  const pending = live.update('k', (draft) => { (draft as { a: number }).a = 2 })
  await gate.arrival()
  t.strictSame(await live.getState('k'), { a: 1 })
  gate.open()
  await pending
  t.strictSame(await live.getState('k'), { a: 2 })
})

t.test('state store: what is read while a commit is under way is the committed value, however the commit ends', async (t) => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({
    end: fc.constantFrom('accepted', 'refused', 'failed', 'lost'),
    looks: fc.boolean(),
    values: fc.array(fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown>, { minLength: 1, maxLength: 3 })
  }), { maxLength: 12 }), async (steps) => {
    const memory = new MemoryBackend()
    const [backend, other] = [new ShakyBackend(memory), new ShakyBackend(memory)]
    const [{ live }, { live: theirs }] = [(await storeNode(t, { stateBackend: backend })).primitives, (await storeNode(t, { stateBackend: other })).primitives]
    await live.setState('k', { list: [], pad: 'x'.repeat(300) })
    for (const { end, looks, values } of steps) {
      const before = await live.getState('k')
      const gate = new Gate()
      backend.hears = () => false // what another node commits is found out by the answer alone
      backend.before = async (method) => {
        if (method !== 'commit') return
        await gate.pass()
        if (end === 'failed') throw new Error('down')
      }
      backend.after = (method) => { if (method === 'commit' && end === 'lost') throw new Error('down') }
      const pending = Promise.allSettled(values.map((value) => live.update('k', (draft) => { (draft as { list: unknown[] }).list.push(value) })))
      await gate.arrival()
      if (looks) t.strictSame(await live.getState('k'), before, 'while it is under way')
      if (end === 'refused') await theirs.update('k', (draft) => { (draft as { list: unknown[] }).list.unshift('theirs') })
      gate.open()
      for (const { status } of await pending) t.equal(status, end === 'failed' || end === 'lost' ? 'rejected' : 'fulfilled')
      backend.before = backend.after = () => undefined
      backend.hears = () => true
      if (end === 'lost' || end === 'failed') backend.doubt()
      const truth = await (await storeNode(t, { stateBackend: memory })).primitives.live.getState('k')
      await until(async () => JSON.stringify(await live.getState('k')) === JSON.stringify(truth))
      const { list } = before as { list: unknown[] }
      const ours = end === 'failed' ? 0 : values.length
      if (end !== 'lost') t.equal((truth as { list: unknown[] }).list.length, list.length + ours + (end === 'refused' ? 1 : 0))
    }
  }), { seed, numRuns: 30 })
})

t.test('state and live share one store; only live makes a key live', async (t) => {
  const backend = new MemoryBackend()
  const { live, state } = (await storeNode(t, { stateBackend: backend })).primitives
  await state.setState('k', 1)
  t.equal(await live.getState('k'), 1)
  t.strictSame(await backend.liveKeys(), [])
  t.strictSame(await live.setState('k', 1), [], 'an equal value, but the key becomes live')
  t.strictSame(await backend.liveKeys(), ['state:k'])
  await state.setState('k', 2)
  t.strictSame(await backend.liveKeys(), ['state:k'], 'and stays so')
  t.equal(await state.deleteState('k'), true)
  t.strictSame(await backend.liveKeys(), [])
})

t.test('state store: what a reader or a deletion finds empty is forgotten', async (t) => {
  const backend = new ShakyBackend()
  const { live } = (await storeNode(t, { stateBackend: backend })).primitives
  await live.getState('a')
  await live.deleteState('b')
  await t.rejects(live.setState('c', 1n))
  await t.rejects(live.update('d', () => { throw new Error('no') }))
  await Promise.all([live.getState('e'), live.deleteState('e'), live.getState('e')])
  t.strictSame([...backend.open.keys()].filter((key) => key.startsWith('state:')), [])
})

t.test('state store: two nodes', async (t) => {
  const two = async (t: { teardown (fn: () => unknown): void }): Promise<{ backends: ShakyBackend[], nodes: Awaited<ReturnType<typeof storeNode>>[] }> => {
    const memory = new MemoryBackend()
    const backends = [new ShakyBackend(memory), new ShakyBackend(memory)]
    return { backends, nodes: [await storeNode(t, { stateBackend: backends[0]! }), await storeNode(t, { stateBackend: backends[1]! })] }
  }

  t.test('100 concurrent increments on each give exactly 200', async (t) => {
    const { nodes } = await two(t)
    const [a, b] = nodes
    await a!.primitives.live.setState('k', { n: 0 })
    const increment = (draft: unknown): void => { (draft as { n: number }).n++ }
    await Promise.all(Array.from({ length: 200 }, (_, i) => nodes[i % 2]!.primitives.live.update('k', increment)))
    t.strictSame(await a!.primitives.live.getState('k'), { n: 200 })
    t.strictSame(await b!.primitives.live.getState('k'), { n: 200 })
  })

  t.test('values that waited in line survive a conflict', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', { base: true })
    await b!.primitives.live.getState('k')
    const gate = new Gate()
    backends[1]!.before = (method) => method === 'commit' ? gate.pass() : undefined
    const first = b!.primitives.live.setState('k', { base: true, first: [1, 2, 3] })
    await gate.arrival()
    const second = b!.primitives.live.setState('k', { base: true, first: [1, 2, 3], second: 2 })
    const third = b!.primitives.live.setState('k', { base: false, first: [3], third: { deep: 3 } })
    await a!.primitives.live.setState('k', { other: 'node' })
    gate.open()
    await Promise.all([first, second, third])
    for (const ds of [a, b]) t.strictSame(await ds!.primitives.live.getState('k'), { base: false, first: [3], third: { deep: 3 } })
  })

  t.test('a value whose caller has gone on survives a conflict', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', { list: [1], pad: 'x'.repeat(100) })
    await b!.primitives.live.getState('k')
    const gate = new Gate()
    backends[1]!.before = (method) => method === 'commit' ? gate.pass() : undefined
    const value = { list: [1, 2], pad: 'x'.repeat(100) }
    const pending = b!.primitives.live.setState('k', value)
    await gate.arrival()
    value.list.push(666)
    await a!.primitives.live.setState('k', { nothing: 'like it' })
    gate.open()
    await pending
    for (const ds of [a, b]) t.strictSame(await ds!.primitives.live.getState('k'), { list: [1, 2], pad: 'x'.repeat(100) })
  })

  t.test('a commit made while a node reads the key for the first time is not missed', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', 1)
    const gate = new Gate()
    backends[1]!.after = (method) => method === 'read' ? gate.pass() : undefined
    const reading = b!.primitives.live.getState('k')
    await gate.arrival() // the answer is on its way
    await a!.primitives.live.setState('k', 2)
    gate.open()
    t.ok([1, 2].includes(await reading as number))
    await until(async () => await b!.primitives.live.getState('k') === 2)
  })

  t.test('answers to reads that overtake each other do no harm', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', 'old')
    await b!.primitives.live.getState('k')
    const gates = [new Gate(), new Gate()]
    let reads = 0
    backends[1]!.after = (method) => method === 'read' ? gates[reads++]?.pass() : undefined
    backends[1]!.doubt()
    await gates[0]!.arrival() // its answer has the old epoch
    await a!.primitives.live.deleteState('k')
    await a!.primitives.live.setState('k', 'new')
    gates[1]!.open()
    await new Promise(setImmediate)
    gates[0]!.open()
    await until(async () => await b!.primitives.live.getState('k') === 'new')
  })

  t.test('a doubt brings a node up to date that heard nothing', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', { n: 1 })
    await b!.primitives.live.getState('k')
    backends[1]!.hears = () => false
    await a!.primitives.live.setState('k', { n: 2 })
    t.strictSame(await b!.primitives.live.getState('k'), { n: 1 })
    backends[1]!.hears = () => true
    backends[1]!.doubt()
    await until(async () => (await b!.primitives.live.getState('k') as { n: number }).n === 2)
    backends[1]!.hears = () => false
    await a!.primitives.live.setState('k', { n: 3 })
    await b!.primitives.live.update('k', (draft) => { (draft as { n: number }).n *= 10 })
    t.strictSame(await b!.primitives.live.getState('k'), { n: 30 }, 'a writer learns what it missed')
    await a!.primitives.live.setState('k', { n: 4 })
    await a!.primitives.live.setState('k', { n: 5 })
    backends[1]!.hears = () => true
    await a!.primitives.live.setState('k', { n: 6 })
    await until(async () => (await b!.primitives.live.getState('k') as { n: number }).n === 6)
  })

  t.test('a doubt does not wait for the next attempt after one that failed', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', 0)
    await b!.primitives.live.getState('k')
    backends[1]!.hears = () => false
    await a!.primitives.live.setState('k', 1)
    let failures = 0
    backends[1]!.before = (method) => { if (method === 'read') { failures++; throw new Error('away') } }
    backends[1]!.doubt()
    await until(async () => failures > 0)
    backends[1]!.before = () => undefined
    await new Promise(setImmediate)
    backends[1]!.doubt()
    await until(async () => await b!.primitives.live.getState('k') === 1)
  })

  t.test('nor does one that comes while an attempt is about to fail', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await a!.primitives.live.setState('k', 0)
    await b!.primitives.live.getState('k')
    backends[1]!.hears = () => false
    await a!.primitives.live.setState('k', 1)
    const gate = new Gate()
    backends[1]!.before = async (method) => {
      if (method !== 'read') return
      await gate.pass()
      throw new Error('away')
    }
    backends[1]!.doubt()
    await gate.arrival()
    backends[1]!.before = () => undefined
    backends[1]!.doubt()
    gate.open()
    await until(async () => await b!.primitives.live.getState('k') === 1)
  })

  t.test('a commit whose answer was lost is neither applied twice nor hidden', async (t) => {
    const { backends, nodes: [a, b] } = await two(t)
    await b!.primitives.live.setState('k', { n: 0 })
    backends[1]!.hears = () => false
    backends[1]!.after = (method) => { if (method === 'commit') throw new Error('connection lost') }
    await t.rejects(b!.primitives.live.update('k', (draft) => { (draft as { n: number }).n++ }), { message: 'connection lost' })
    backends[1]!.after = () => undefined
    t.strictSame(await a!.primitives.live.getState('k'), { n: 1 })
    await until(async () => (await b!.primitives.live.getState('k') as { n: number }).n === 1)
  })

  t.test('whatever a journal does, nodes agree in the end', async (t) => {
    await fc.assert(fc.asyncProperty(fc.array(fc.record({
      node: fc.integer({ min: 0, max: 1 }),
      act: fc.constantFrom('set', 'update', 'delete', 'doubt', 'wait'),
      value: fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown>
    }), { maxLength: 40 }), fc.infiniteStream(fc.integer({ min: 0, max: 19 })), async (steps, chances) => {
      const { backends, nodes } = await two(t)
      const shake = async (): Promise<void> => {
        const chance = chances.next().value!
        for (let i = 0; i < chance % 4; i++) await (chance % 3 === 0 ? null : new Promise(setImmediate))
        if (chance === 19) throw new Error('shaken')
      }
      for (const backend of backends) {
        backend.before = backend.after = shake
        backend.hears = () => chances.next().value! < 17
      }
      const pending: Array<Promise<unknown>> = []
      for (const { node, act, value } of steps) {
        const { live } = nodes[node]!.primitives
        if (act === 'set') pending.push(live.setState('k', value))
        else if (act === 'update') pending.push(live.update('k', (draft) => Array.isArray(draft) ? [...draft, value] : [value]))
        else if (act === 'delete') pending.push(live.deleteState('k'))
        else if (act === 'doubt') backends[node]!.doubt()
        else await new Promise(setImmediate)
        pending.at(-1)?.catch(() => {}) // looked at below
      }
      const failures = (await Promise.allSettled(pending)).filter((outcome) => outcome.status === 'rejected')
      for (const { reason } of failures) if (reason.message !== 'shaken') throw reason
      for (const backend of backends) {
        backend.before = backend.after = () => undefined
        backend.hears = () => true
      }
      for (const backend of backends) backend.doubt()
      await until(async () => {
        const [a, b] = await Promise.all(nodes.map((ds) => ds.primitives.live.getState('k')))
        return JSON.stringify(a) === JSON.stringify(b)
      })
      const truth = await (await storeNode(t, { stateBackend: backends[0]!.memory })).primitives.live.getState('k')
      if (JSON.stringify(truth) !== JSON.stringify(await nodes[0]!.primitives.live.getState('k'))) throw new Error('both are wrong')
    }), { seed, numRuns: 60 })
  })
})

t.test('state store: values and patches agree whatever is written, on one node', async (t) => {
  const { live } = (await storeNode(t)).primitives
  await fc.assert(fc.asyncProperty(fc.array(fc.jsonValue({ maxDepth: 4 }), { minLength: 1, maxLength: 8 }), async (values) => {
    await live.deleteState('k')
    let mirror: unknown
    for (const value of values) {
      mirror = applyPatch(mirror, await live.setState('k', value) as never)
      const stored = await live.getState('k')
      t.strictSame(JSON.parse(JSON.stringify(mirror)), JSON.parse(JSON.stringify(stored)))
      if (JSON.stringify(sorted(stored)) !== JSON.stringify(sorted(JSON.parse(JSON.stringify(value))))) throw new Error('it is not what was written')
    }
  }), { seed, numRuns: 100 })
})

t.test('state store: frozen values that share parts, whoever else writes', async (t) => {
  const stateBackend = new MemoryBackend()
  const nodes = [await storeNode(t, { stateBackend }), await storeNode(t, { stateBackend })]
  await fc.assert(fc.asyncProperty(fc.array(fc.record({
    node: fc.integer({ min: 0, max: 1 }),
    act: fc.constantFrom('set', 'set', 'update', 'thrice'),
    at: fc.integer({ min: 0, max: 5 }),
    value: fc.jsonValue({ maxDepth: 2 }) as fc.Arbitrary<unknown>
  }), { maxLength: 20 }), async (steps) => {
    let given = deepFreeze({ list: Array.from({ length: 6 }, (_, n) => ({ n, tags: [{ n }] as unknown[] })) })
    const edited = (at: number, value: unknown): typeof given => deepFreeze({ list: given.list.map((entry, i) => i === at ? { ...entry, tags: [value, ...entry.tags] } : entry) })
    for (const { node, act, at, value } of steps) {
      const { live } = nodes[node]!.primitives
      if (act === 'update') await live.update('k', (draft) => { (draft as typeof given | undefined)?.list[at]?.tags.push(value) })
      const waiting = []
      for (let i = 0; i < (act === 'thrice' ? 3 : 1); i++) {
        given = edited((at + i) % 6, value)
        waiting.push(live.setState('k', given))
      }
      await Promise.all(waiting)
      const stored = JSON.stringify(sorted(await live.getState('k')))
      if (stored !== JSON.stringify(sorted(JSON.parse(JSON.stringify(given))))) throw new Error(`${stored} is not what was written`)
    }
  }), { seed, numRuns: 60 })
})

t.test('state store: a backend with connect()', async (t) => {
  const { DatasoleServer } = await import('../../plugins/server.js')
  const gate = new Gate()
  const backend = Object.assign(new MemoryBackend(), { connect: async () => { await gate.pass() }, close: async () => {} })
  const ds = new DatasoleServer({ stateBackend: backend, logger: capturedLogger([]) })
  t.teardown(() => ds.close())
  await t.rejects(ds.primitives.live.setState('k', 1), { code: 'NOT_STARTED', message: /init/ })
  await t.rejects(ds.primitives.live.getState('k'), { code: 'NOT_STARTED' })
  await t.rejects(ds.primitives.live.deleteState('k'), { code: 'NOT_STARTED' })
  await t.rejects(ds.primitives.live.update('k', () => 1), { code: 'NOT_STARTED' })
  const starting = ds.init()
  await gate.arrival()
  const early = [ds.primitives.live.setState('k', { n: 1 }), ds.primitives.live.update('k', (draft) => { (draft as { n: number }).n++ })]
  gate.open()
  await Promise.all([starting, ...early])
  t.strictSame(await ds.primitives.live.getState('k'), { n: 2 })
})

t.test('state store: a backend that cannot be reached', async (t) => {
  const { DatasoleServer } = await import('../../plugins/server.js')
  let closed = 0
  const backend = Object.assign(new MemoryBackend(), { connect: async () => { throw new Error('no route to host') }, close: async () => { closed++ } })
  const ds = new DatasoleServer({ stateBackend: backend, logger: capturedLogger([]) })
  const early = ds.init()
  const waiting = ds.primitives.live.setState('k', 1)
  await t.rejects(early, { message: 'no route to host' })
  await t.rejects(waiting, { message: 'no route to host' })
  await ds.close()
  t.equal(closed, 0, 'what did not connect is not closed')
})

t.test('state store: a write that the end cuts off is told to its caller, and is no fault to be logged', async (t) => {
  const backend = new ShakyBackend()
  const ds = await storeNode(t, { stateBackend: backend })
  await ds.primitives.live.setState('k', 1)
  const gate = new Gate()
  backend.before = async () => {
    await gate.pass()
    throw new Error('the connection is closed')
  }
  const written = t.rejects(ds.primitives.live.setState('k', 2), /is closed/)
  await gate.arrival()
  await ds.close()
  gate.open()
  await written
  await new Promise(setImmediate)
  t.strictSame(ds.logs, [])
})

t.test('state store: a backend that forgot everything does not stop its writers', { timeout: 60_000 }, async (t) => {
  const backend = new FiveMethods()
  const { live } = (await storeNode(t, { stateBackend: backend })).primitives
  await live.setState('k', { n: 1 })
  await live.setState('k', { n: 2 })
  backend.values.clear()
  await live.update('k', (draft) => ({ n: ((draft as { n: number } | undefined)?.n ?? 0) + 1 }))
  t.ok([1, 3].includes((await live.getState('k') as { n: number }).n))
})

t.test('state store: a custom backend with five methods keeps every promise on one node', async (t) => {
  const backend = new FiveMethods()
  const { live, state } = (await storeNode(t, { stateBackend: backend })).primitives
  await live.setState('k', { n: 0 })
  await Promise.all(Array.from({ length: 50 }, () => live.update('k', (draft) => { (draft as { n: number }).n++ })))
  t.strictSame(await live.getState('k'), { n: 50 })
  await state.setState('hidden', 1)
  await live.deleteState('k')
  t.equal(await live.getState('k'), undefined)
  await live.setState('k', 'again')
  const again = await storeNode(t, { stateBackend: backend })
  t.equal(await again.primitives.live.getState('k'), 'again', 'another server finds it')
})

function sorted (value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([key, member]) => [key, sorted(member)])
}

/** Turns of the event loop, not time: what was set off has to arrive without anything else happening. */
