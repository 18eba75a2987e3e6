import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { DatasoleServerOptions } from '../../plugins/server.js'
import { valueOf } from '../../lib/server/store/replica.js'
import { FiveMethods, ShakyBackend } from '../helpers/backends.js'
import { entrances } from '../helpers/entrances.js'
import { cluster, node, storeNode } from '../helpers/nodes.js'
import type { Wire } from '../helpers/wire.js'

interface Op { type?: string, nodeId?: string, timestamp?: number, op?: string, key?: string, value?: unknown, seq?: number }

const OPEN: DatasoleServerOptions = { rateLimit: false }

const increment = (more: Op = {}): Op => ({ type: 'pn-counter', nodeId: 'n1', timestamp: Date.now(), op: 'increment', value: 1, ...more })
const set = (more: Op = {}): Op => ({ type: 'lww-map', nodeId: 'n1', timestamp: Date.now(), op: 'set', key: 'a', value: 1, ...more })

const push = async (wire: Wire, key: string, op: unknown) => await wire.ask(Opcode.CRDT_OP, { key, op })

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: an operation is acknowledged, and everyone who subscribes is told`, async (t) => {
    const { ds, connect } = await start(t)
    const [ann, bob] = [await connect(), await connect()]
    const empty = await bob.ask(Opcode.SUBSCRIBE, { key: 'likes', type: 'pn-counter', nodeId: 'n2' })
    t.match(empty, { opcode: Opcode.CRDT_STATE, payload: { key: 'likes', version: 0, state: undefined } })
    t.match(await push(ann, 'likes', increment({ value: 3, seq: 1 })), { opcode: Opcode.CRDT_ACK, payload: { key: 'likes' } })
    t.match((await bob.nextOf(Opcode.CRDT_STATE)).payload, { version: 1, state: { type: 'pn-counter', value: 3 } })
    await push(ann, 'likes', increment({ op: 'decrement', seq: 2 }))
    t.match((await bob.nextOf(Opcode.CRDT_OP)).payload, { from: 1, version: 2, ops: [{ op: 'count', plus: 3, minus: 1, nodes: { n1: [Number, 3, 1, 2] } }] })
    t.equal(await ds.primitives.crdt.getValue('likes'), 2)
    t.match((await ann.ask(Opcode.SUBSCRIBE, { key: 'likes', nodeId: 'n1' })).payload.state, { value: 2, metadata: { plus: 3, minus: 1, node: [Number, 3, 1, 2] } }, 'a key that is there needs no type')
  })
}

t.test('crdts: a repeated seq changes nothing, in any order', async (t) => {
  const { ds, connect } = await node(t, OPEN)
  const ann = await connect()
  for (const seq of [2, 1, 2, 1, 4, 4, 3, 1000, 1000]) {
    t.equal((await push(ann, 'k', increment({ seq, value: seq }))).opcode, Opcode.CRDT_ACK)
  }
  t.equal(await ds.primitives.crdt.getValue('k'), 1 + 2 + 3 + 4 + 1000)
  t.match((await push(ann, 'k', increment({ seq: 1005 }))).payload, { code: 'LIMIT_EXCEEDED', key: 'k' })
})

t.test('crdts: a version 1 client gets the state of every key, and after each change', async (t) => {
  const { ds, connectV1 } = await node(t, { ...OPEN, prepare: (ds) => { ds.primitives.crdt.register('likes', 'pn-counter') } })
  const [old, other] = [await connectV1(), await connectV1()]
  t.match((await old.wire.nextOf(Opcode.CRDT_STATE)).payload, { key: 'likes', state: { type: 'pn-counter', value: 0, metadata: { type: 'pn-counter', nodeId: String, timestamp: Number, version: 1 } } })
  other.wire.send(Opcode.CRDT_OP, 0, { key: 'likes', op: increment({ value: undefined }) })
  t.match((await old.wire.nextOf(Opcode.CRDT_STATE)).payload.state, { value: 1, metadata: { vector: { increments: { n1: 1 }, decrements: { n1: 0 } } } })
  other.wire.send(Opcode.CRDT_OP, 0, { key: 'title', op: { type: 'lww-register', nodeId: 'n1', timestamp: 5, op: 'set', value: 'a' } })
  other.wire.send(Opcode.CRDT_OP, 0, { key: 'title', op: { type: 'lww-register', nodeId: 'n1', timestamp: 5, op: 'set', value: 'b' } })
  await old.wire.waitFor(({ opcode, payload }) => opcode === Opcode.CRDT_STATE && payload.key === 'title' && payload.state.value === 'b')
  t.equal(await ds.primitives.crdt.getValue('title'), 'b', 'of two in one millisecond the second is later')
  t.strictSame(old.complaints, [])
})

t.test('crdts: the last write of a field wins, removals included', async (t) => {
  const { ds, connect } = await node(t, OPEN)
  const [ann, bob] = [await connect(), await connect()]
  await bob.ask(Opcode.SUBSCRIBE, { key: 'm', type: 'lww-map' })
  await push(ann, 'm', set({ timestamp: 10, value: 'ten' }))
  await push(ann, 'm', set({ timestamp: 9, value: 'nine', nodeId: 'n9' }))
  await push(ann, 'm', set({ timestamp: 10, value: 'tie', nodeId: 'n2' }))
  t.strictSame(await ds.primitives.crdt.getValue('m'), { a: 'tie' })
  await push(ann, 'm', { type: 'lww-map', nodeId: 'n1', timestamp: 11, op: 'remove', key: 'a' })
  await push(ann, 'm', set({ timestamp: 10.5 }))
  await push(ann, 'm', set({ timestamp: 1, key: '__proto__', value: { polluted: true } }))
  const value = await ds.primitives.crdt.getValue('m') as object
  t.strictSame(Object.keys(value), ['__proto__'])
  t.equal(({} as { polluted?: boolean }).polluted, undefined)
  const { ops } = (await bob.waitFor(({ opcode, payload }) => opcode === Opcode.CRDT_OP && payload.version === 4)).payload
  t.strictSame(ops, [{ type: 'lww-map', nodeId: 'n1', timestamp: 1, op: 'set', key: '__proto__', value: { polluted: true } }].map((op) => JSON.parse(JSON.stringify(op))))
})

t.test('crdts: what is no operation is refused, and changes nothing', async (t) => {
  const { ds, connect } = await node(t, { ...OPEN, authHandler: (req) => ({ authenticated: true, userId: String(req.headers['x-user'] ?? 'ann') }) })
  const ann = await connect()
  await push(ann, 'c', increment({ seq: 1 }))
  const bad: Array<[unknown, string]> = [
    [undefined, 'INVALID_PATCH'], [null, 'INVALID_PATCH'], [[], 'INVALID_PATCH'], [{}, 'INVALID_PATCH'],
    [increment({ value: -1 }), 'INVALID_PATCH'], [increment({ value: 'x' }), 'INVALID_PATCH'], [increment({ value: 1e300 }), 'INVALID_PATCH'], [increment({ value: null }), 'INVALID_PATCH'],
    [increment({ seq: 0 }), 'INVALID_PATCH'], [increment({ seq: 1.5 }), 'INVALID_PATCH'], [increment({ nodeId: '' }), 'INVALID_PATCH'], [increment({ nodeId: 'x'.repeat(129) }), 'INVALID_PATCH'],
    [increment({ op: 'set' }), 'INVALID_PATCH'], [increment({ type: '__proto__' }), 'INVALID_PATCH'], [increment({ timestamp: -1 }), 'INVALID_PATCH'], [set({ key: undefined }), 'INVALID_PATCH'],
    [set({ value: undefined }), 'INVALID_PATCH'], [{ ...set(), op: 'increment' }, 'INVALID_PATCH'],
    [increment({ timestamp: Date.now() + 120_000 }), 'CLOCK_SKEW'],
    [set(), 'CONFLICT'],
    [increment({ value: Number.MAX_SAFE_INTEGER }), 'LIMIT_EXCEEDED']
  ]
  for (const [op, code] of bad) t.match(await push(ann, 'c', op), { opcode: Opcode.ERROR, payload: { code, key: 'c' } }, JSON.stringify(op))
  const eve = await connect({ headers: { 'x-user': 'eve' } })
  t.match((await push(eve, 'c', increment({ seq: 2 }))).payload, { code: 'FORBIDDEN' }, 'a nodeId belongs to who used it first')
  t.match((await push(await connect(), 'c', increment({ seq: 2 }))).opcode, Opcode.CRDT_ACK, 'also on another connection')
  t.equal(await ds.primitives.crdt.getValue('c'), 2)
})

t.test('crdts: hooks guard operations and subscriptions', async (t) => {
  const { connect } = await node(t, {
    ...OPEN,
    prepare: (ds) => {
      ds.addHook('prePush', (_ctx, { key, data }) => { if (key === 'no' || (data as Op).value === 7) throw new Error('not you') })
      ds.addHook('prePush', async (_ctx, { key }) => { if (key === 'later no') throw new Error('not you either') })
      ds.addHook('preSubscribe', (_ctx, { key }) => { if (key === 'secret') throw new Error('no') })
    }
  })
  const ann = await connect()
  t.match((await push(ann, 'no', increment())).payload, { code: 'FORBIDDEN', message: 'not you', key: 'no' })
  t.match((await push(ann, 'later no', increment())).payload, { code: 'FORBIDDEN', message: 'not you either' })
  t.match((await push(ann, 'yes', increment({ value: 7 }))).payload, { code: 'FORBIDDEN' })
  t.equal((await push(ann, 'yes', increment())).opcode, Opcode.CRDT_ACK)
  t.match((await ann.ask(Opcode.SUBSCRIBE, { key: 'secret', type: 'lww-map' })).payload, { code: 'FORBIDDEN' })
})

t.test('clients make keys up to maxCrdtKeys, on all nodes together', async (t) => {
  const [one, two] = await cluster(t, 2, { ...OPEN, maxCrdtKeys: 3 })
  const [ann, bob] = [await one!.connect(), await two!.connect()]
  one!.ds.primitives.crdt.register('mine', 'lww-map')
  t.equal((await push(ann, 'a', increment())).opcode, Opcode.CRDT_ACK)
  const answers = await Promise.all(['b', 'c', 'd'].map((key) => push(ann, key, increment())))
  t.equal(answers.filter(({ opcode }) => opcode === Opcode.CRDT_ACK).length, 1)
  t.match(answers[2]!.payload, { code: 'LIMIT_EXCEEDED', key: 'd' })
  await bob.ping()
  t.match((await push(bob, 'e', increment())).payload, { code: 'LIMIT_EXCEEDED' })
  t.equal((await push(bob, 'a', increment())).opcode, Opcode.CRDT_ACK, 'of keys that are there nothing is refused')
  t.throws(() => { for (const key of ['x', 'y', 'z']) one!.ds.primitives.crdt.register(key, 'lww-map') }, { code: 'LIMIT_EXCEEDED' })
  t.equal(await two!.ds.primitives.crdt.delete('a'), true)
  t.equal((await push(bob, 'e', increment())).opcode, Opcode.CRDT_ACK, 'one that was deleted makes room')
})

t.test('crdts: keys of clients leave server code no room, except for what it registers before it has started', async (t) => {
  const backend = new MemoryBackend()
  const { ds: { primitives: { crdt, live } }, connect } = await node(t, { ...OPEN, stateBackend: backend, maxCrdtKeys: 2 })
  const ann = await connect()
  await push(ann, 'a', increment())
  await push(ann, 'b', increment())
  t.throws(() => crdt.register('mine', 'pn-counter'), { code: 'LIMIT_EXCEEDED' })
  t.throws(() => live.createSyncChannel({ key: 'mine', direction: 'bidirectional', mode: 'crdt', initialValue: 0 }), { code: 'LIMIT_EXCEEDED' })
  await crdt.register('a', 'pn-counter').increment()
  t.equal(await crdt.getValue('a'), 2, 'one that is there may be declared')
  await crdt.delete('b')
  await crdt.register('mine', 'pn-counter').increment()
  t.throws(() => crdt.register('more', 'pn-counter'), { code: 'LIMIT_EXCEEDED' })

  const other = await node(t, { ...OPEN, stateBackend: backend, maxCrdtKeys: 2, prepare: (ds) => { ds.primitives.crdt.register('first', 'pn-counter') } })
  await other.ds.primitives.crdt.apply('first', { type: 'pn-counter', op: 'increment' })
  t.equal(await other.ds.primitives.crdt.getValue('first'), 1)
})

t.test('server code: handles, operations, listeners', async (t) => {
  const ds = await storeNode(t)
  const { crdt } = ds.primitives
  const likes = crdt.register('likes', 'pn-counter')
  const title = crdt.register('title', 'lww-register')
  const prefs = crdt.registerByType('prefs', 'lww-map')
  const heard: unknown[] = []
  const end = crdt.onChange((key, value, type) => { heard.push([key, value, type]) })
  const endFailing = crdt.onChange(async (key) => { throw new Error(`a listener of ${key}`) })
  await likes.increment(5)
  endFailing()
  t.match(ds.logs.map((line) => JSON.parse(line)), [{ level: 50, key: 'likes', err: { message: 'a listener of likes' } }])
  await likes.decrement()
  t.equal(await likes.value(), 4)
  t.equal(await title.value(), undefined)
  await title.set({ text: 'x' })
  await prefs.set('a', 1)
  await prefs.set('b', 2)
  await prefs.remove('a')
  t.strictSame(await prefs.value(), { b: 2 })
  t.strictSame(heard.slice(-3), [['prefs', { a: 1 }, 'lww-map'], ['prefs', { a: 1, b: 2 }, 'lww-map'], ['prefs', { b: 2 }, 'lww-map']])
  end()
  await crdt.apply('likes', { type: 'pn-counter', op: 'increment', nodeId: 'x', seq: 1, value: 10 })
  await crdt.apply('likes', { type: 'pn-counter', op: 'increment', nodeId: 'x', seq: 1, value: 10 })
  t.equal(await crdt.getValue('likes'), 14)
  t.equal(heard.length, 9, 'three were made, and six changes')
  t.equal(crdt.get('likes')?.type, 'pn-counter')
  t.equal(crdt.get('nothing'), undefined)
  t.equal(await crdt.getValue('nothing'), undefined)
  t.throws(() => crdt.register('likes', 'pn-counter'), { code: 'DUPLICATE_KEY' })
  t.throws(() => crdt.registerByType('likes', 'lww-map'), { code: 'TYPE_MISMATCH' })
  t.throws(() => crdt.register('x', 'g-set' as never), { code: 'INVALID_ARGUMENT' })
  await t.rejects(crdt.apply('likes', { type: 'lww-map', op: 'set', key: 'a', value: 1 }), { code: 'CONFLICT' })
  await t.rejects(crdt.apply('likes', { type: 'pn-counter', op: 'increment', value: -1 }), { code: 'INVALID_ARGUMENT' })
  await t.rejects(title.set(NaN as never), { code: 'INVALID_JSON' })
  await t.rejects(crdt.delete('likes'), { code: 'REGISTERED' })
  t.equal(await crdt.delete('nothing'), false)
})

t.test('crdts: names that are refused leave nothing behind', async (t) => {
  const backend = new ShakyBackend()
  const { connect } = await node(t, { ...OPEN, stateBackend: backend, maxCrdtKeys: 2 })
  const ann = await connect()
  const open = (): number => [...backend.open.keys()].filter((key) => key.startsWith('crdt:')).length
  t.match((await push(ann, 'early', increment({ seq: 5000 }))).payload, { code: 'LIMIT_EXCEEDED' })
  t.equal(open(), 0, 'an operation that does not count makes no key')
  await push(ann, 'a', increment())
  await push(ann, 'b', increment())
  const answers = await Promise.all(Array.from({ length: 500 }, (_, i) => push(ann, `flood ${i}`, increment())))
  t.ok(answers.every(({ payload }) => payload.code === 'LIMIT_EXCEEDED'))
  for (let i = 0; i < 100; i++) await ann.ask(Opcode.SUBSCRIBE, { key: `followed ${i}`, type: 'pn-counter' })
  for (let i = 0; i < 100; i++) ann.send(Opcode.UNSUBSCRIBE, 0, { key: `followed ${i}` })
  await ann.ping()
  t.equal(open(), 2)
})

t.test('crdts: names of state are not for operations of clients, whoever was first', async (t) => {
  const { ds, connect } = await node(t, OPEN)
  const { live, crdt } = ds.primitives
  const guarded = { direction: 'bidirectional', mode: 'json-patch', initialValue: 1 } as const
  live.createSyncChannel({ key: 'channel', ...guarded })
  live.register('declared')
  await live.setState('live', { v: 1 })
  const op = (key: string): object => ({ key, op: { type: 'lww-register', nodeId: 'e', timestamp: Date.now(), op: 'set', value: 'mine', seq: 1 } })
  const evil = await connect()
  for (const key of ['channel', 'declared', 'live']) t.match(await evil.ask(Opcode.CRDT_OP, op(key)), { opcode: Opcode.ERROR, payload: { code: 'UNKNOWN_KEY', key } })
  t.match(await evil.ask(Opcode.CRDT_OP, op('later')), { opcode: Opcode.CRDT_ACK })
  await live.setState('later', { v: 2 })
  const ann = await connect()
  for (const type of [undefined, 'lww-register']) {
    t.match(await ann.ask(Opcode.SUBSCRIBE, { key: 'live', type }), { opcode: Opcode.STATE_SNAPSHOT, payload: { data: { v: 1 } } })
    t.match(await ann.ask(Opcode.SUBSCRIBE, { key: 'later', type }), { opcode: Opcode.STATE_SNAPSHOT, payload: { data: { v: 2 } } })
  }
  t.match(await evil.ask(Opcode.CRDT_OP, op('later')), { opcode: Opcode.ERROR, payload: { code: 'UNKNOWN_KEY' } })
  for (const key of ['channel', 'declared']) t.throws(() => { crdt.register(key, 'lww-map') }, { code: 'DUPLICATE_KEY' })
  crdt.register('counted', 'pn-counter')
  t.throws(() => { live.createSyncChannel({ key: 'counted', ...guarded }) }, { code: 'DUPLICATE_KEY' })
})

t.test('crdts: a value of an operation may be as deep as any', async (t) => {
  const { connect } = await node(t, { ...OPEN, maxJsonDepth: 5 })
  const wire = await connect()
  const set = (value: unknown): object => ({ key: 'k', op: { type: 'lww-register', nodeId: 'e', timestamp: Date.now(), op: 'set', value } })
  t.equal((await wire.ask(Opcode.CRDT_OP, set([[[[[]]]]]))).opcode, Opcode.CRDT_ACK)
  t.match((await wire.ask(Opcode.CRDT_OP, set([[[[[[]]]]]]))).payload, { code: 'BAD_FRAME' })
})

t.test('crdts: what is known of writers and of removed fields is bounded', async (t) => {
  const backend = new MemoryBackend()
  const ds = await storeNode(t, { stateBackend: backend })
  const { crdt } = ds.primitives
  const map = crdt.register('map', 'lww-map')
  const start = Date.now()
  for (let i = 0; i < 3500; i++) void crdt.apply('map', { type: 'lww-map', op: 'remove', key: `f${i}`, timestamp: start + i / 1000 })
  await map.set('a', 1)
  for (let i = 0; i < 1000; i++) void crdt.apply('map', { type: 'lww-map', op: 'remove', key: 'last' })
  await map.set('b', 1)
  const { fields } = JSON.parse(valueOf(await backend.read('crdt:map'))!) as { fields: object }
  t.ok(Object.keys(fields).length <= 1000 + 1000 + 3, `${Object.keys(fields).length} fields`)
  await t.rejects(crdt.apply('map', { type: 'lww-map', op: 'set', key: 'f0', value: 'old', timestamp: start - 1000 }), { code: 'CONFLICT' })
  t.strictSame(await map.value(), { a: 1, b: 1 }, 'what was forgotten is not undone')
})

t.test('subscriptions to state and CRDTs are counted together; a slow reader gets the newest state', async (t) => {
  const { ds, connect } = await node(t, { ...OPEN, maxSubscriptions: 2, highWaterMark: 1000 })
  const ann = await connect()
  await ann.ask(Opcode.SUBSCRIBE, { key: 'state' })
  await ann.ask(Opcode.SUBSCRIBE, { key: 'map', type: 'lww-map' })
  t.match((await ann.ask(Opcode.SUBSCRIBE, { key: 'more', type: 'lww-map' })).payload, { code: 'LIMIT_EXCEEDED' })
  t.match((await ann.ask(Opcode.SUBSCRIBE, { key: 'more' })).payload, { code: 'LIMIT_EXCEEDED' })
  const { crdt } = ds.primitives
  for (let i = 0; i <= 200; i++) await crdt.apply('map', { type: 'lww-map', op: 'set', key: `f${i % 5}`, value: `${i} ${'x'.repeat(5000)}` })
  ann.socket.pause()
  for (let i = 0; i <= 400; i++) await crdt.apply('map', { type: 'lww-map', op: 'set', key: `f${i % 5}`, value: `last ${i} ${'x'.repeat(20_000)}` })
  ann.socket.resume()
  const frames = []
  for (;;) {
    const frame = await ann.waitFor(({ opcode }) => opcode === Opcode.CRDT_OP || opcode === Opcode.CRDT_STATE)
    frames.push(frame)
    if (frame.payload.version === 602) break
  }
  t.ok(frames.length < 600, `${frames.length} frames for 602 changes`)
  let version = -1
  for (const { opcode, payload } of frames) {
    if (opcode === Opcode.CRDT_OP) t.equal(payload.from, version)
    version = payload.version
  }
})

t.test('crdts: one that makes a key too large is refused alone', async (t) => {
  const { ds, connect } = await node(t, { ...OPEN, maxStateBytes: 2000 })
  const ann = await connect()
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => push(ann, 'm', set({ key: `f${i}`, value: i === 7 ? 'x'.repeat(3000) : i }))))
  t.strictSame(answers.map(({ opcode, payload }) => payload.code ?? opcode), Array.from({ length: 20 }, (_, i) => i === 7 ? 'LIMIT_EXCEEDED' : Opcode.CRDT_ACK))
  t.equal(Object.keys(await ds.primitives.crdt.getValue('m') as object).length, 19)
})

t.test('crdts: five methods are enough on one node; a key and its type outlive it', async (t) => {
  const stateBackend = new FiveMethods()
  const first = await node(t, { ...OPEN, stateBackend })
  await push(await first.connect(), 'likes', increment({ seq: 1 }))
  await first.ds.close()
  const { connect, connectV1 } = await node(t, { ...OPEN, stateBackend })
  t.match((await (await connectV1()).wire.nextOf(Opcode.CRDT_STATE)).payload, { key: 'likes', state: { value: 1 } })
  const ann = await connect()
  await push(ann, 'likes', increment({ seq: 1 }))
  t.match((await ann.ask(Opcode.SUBSCRIBE, { key: 'likes' })).payload.state, { value: 1 })
})

t.test('crdts: a counter that a client has filled up can be counted down to work again', async (t) => {
  const { ds, connect } = await node(t, OPEN)
  const likes = ds.primitives.crdt.register('likes', 'pn-counter')
  await likes.increment(5)
  const eve = await connect()
  const huge = Number.MAX_SAFE_INTEGER - 5
  await push(eve, 'likes', increment({ value: huge }))
  await t.rejects(likes.increment(), { code: 'LIMIT_EXCEEDED' })
  await likes.decrement(huge)
  await likes.increment(2)
  t.equal(await likes.value(), 7)
  const { payload: { state } } = await eve.ask(Opcode.SUBSCRIBE, { key: 'likes', type: 'pn-counter', nodeId: 'n1' })
  t.match(state, { value: 7, metadata: { plus: 7, minus: 0 } })
})

t.test('crdts: without an auth handler a nodeId is not bound to the address that it came from first', async (t) => {
  const { ds, connect } = await node(t, OPEN)
  await push(await connect(), 'likes', increment({ seq: 1 }))
  const moved = await connect({ localAddress: '127.0.0.2' })
  t.equal((await push(moved, 'likes', increment({ seq: 2 }))).opcode, Opcode.CRDT_ACK)
  t.equal(await ds.primitives.crdt.getValue('likes'), 2)
})
