import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { encodeFrame } from '../../lib/protocol/frame.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { commitId, packSnapshot, pushOf, PushLedger, unpackSnapshot } from '../../lib/server/store/push-ledger.js'
import { TouchedPaths } from '../../lib/server/channels/touched-paths.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { Gate, ShakyBackend } from '../helpers/backends.js'
import { type Node, type NodeOptions, cluster, node, storeNode } from '../helpers/nodes.js'
import type { Received, Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

interface Board { title: string, list: number[], at?: Record<string, unknown> }
const initialValue: Board = { title: 'a', list: [1, 2, 3] }

/** A raw client of the key `board`, and where it stands. */
class Pusher {
  head = { epoch: '', version: 0 }
  seq = 0

  constructor (readonly wire: Wire, readonly client = 'me') {}

  async subscribe (key = 'board'): Promise<this> {
    const { payload } = await this.wire.ask(Opcode.SUBSCRIBE, { key })
    this.head = { epoch: payload.epoch, version: payload.version }
    return this
  }

  /** What the server says to a push; `more` replaces members of the frame. */
  push (patches: unknown, more: object = {}): Promise<Received> {
    return this.wire.ask(Opcode.STATE_PUSH, { key: 'board', epoch: this.head.epoch, base: this.head.version, patches, push: { client: this.client, seq: ++this.seq }, ...more })
  }

  refused (t: Tap, code: string, patches: unknown, more?: object): Promise<void> {
    return this.push(patches, more).then(({ opcode, payload }) => {
      t.match({ opcode, code: payload.code, key: payload.key }, { opcode: Opcode.ERROR, code, key: 'board' }, `${JSON.stringify(patches)?.slice(0, 80)}: ${payload.message}`)
    })
  }
}

type Tap = Pick<typeof t, 'match' | 'teardown'>

async function board (t: Tap, { options = {}, ...more }: NodeOptions & { options?: object } = {}): Promise<Node & { pusher: (client?: string, headers?: Record<string, string>) => Promise<Pusher>, value: () => Promise<unknown> }> {
  const running = await node(t, {
    rateLimit: false,
    prepare: (ds) => { ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue, ...options }) },
    ...more
  })
  await running.ds.primitives.live.getSyncChannel('board')!.update((draft) => { (draft as Board).title = 'b' })
  return {
    ...running,
    pusher: async (client, headers) => await new Pusher(await running.connect({ headers }), client).subscribe(),
    value: () => running.ds.primitives.live.getState('board')
  }
}

const replace = (path: string, value: unknown): Operation[] => [{ op: 'replace', path, value }]

t.test('a push is acknowledged, then everyone gets it, its pusher too', async (t) => {
  const { pusher, value } = await board(t)
  const [one, two] = [await pusher('one'), await pusher('two')]
  const { epoch, version } = one.head
  const answer = await one.push(replace('/title', 'mine'))
  t.equal(answer.opcode, Opcode.STATE_ACK)
  t.strictSame(answer.payload, { key: 'board', epoch, version: version + 1 })
  const patch = { key: 'board', epoch, from: version, version: version + 1, patches: replace('/title', 'mine') }
  for (const { wire } of [one, two]) t.strictSame((await wire.nextOf(Opcode.STATE_PATCH)).payload, patch)
  t.strictSame(await value(), { title: 'mine', list: [1, 2, 3] })
  t.match(await one.push([]), { opcode: Opcode.STATE_ACK, payload: { version } }, 'nothing is in every version')
})

t.test('pushes: a hook that changes its patches during the commit changes nothing for subscribers', async (t) => {
  const backend = new ShakyBackend()
  const { ds, pusher, value } = await board(t, { stateBackend: backend })
  let kept: Operation[] = []
  ds.addHook('prePush', (_ctx, { patches }) => { kept = patches! })
  const [one, two] = [await pusher('one'), await pusher('two')]
  const gate = new Gate()
  backend.before = (method) => method === 'commit' ? gate.pass() : undefined
  const pushed = one.push(replace('/title', 'mine'))
  await gate.arrival()
  Object.assign(kept[0]!, { value: 'other' })
  gate.open()
  await pushed
  t.strictSame((await two.wire.nextOf(Opcode.STATE_PATCH)).payload.patches, replace('/title', 'mine'))
  t.strictSame(await value(), { title: 'mine', list: [1, 2, 3] })
})

t.test('pushes: this node reads numbers as the other nodes do', async (t) => {
  const backend = new MemoryBackend()
  const { pusher, value } = await board(t, { stateBackend: backend })
  const other = await storeNode(t, { stateBackend: backend })
  const one = await pusher()
  const frame = JSON.stringify({ key: 'board', epoch: one.head.epoch, base: one.head.version, patches: [...replace('/title', 'TOO_LARGE'), ...replace('/list/0', 'NEGATIVE_ZERO')], push: { client: 'me', seq: 1 } })
  one.wire.sendRaw(encodeFrame(Opcode.STATE_PUSH, 1, Buffer.from(frame.replace('"TOO_LARGE"', '1e400').replace('"NEGATIVE_ZERO"', '-0'))))
  await one.wire.nextOf(Opcode.STATE_ACK)
  t.strictSame(await other.primitives.live.getState('board'), { title: null, list: [0, 2, 3] })
  const { title, list } = await value() as Board
  t.equal(title, null)
  t.ok(Object.is(list[0], 0))
})

t.test('pushes: a push that is sent again changes nothing, on whichever node', async (t) => {
  const nodes = await cluster(t, 2, { rateLimit: false, prepare: (ds) => { ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue }) } })
  const one = await new Pusher(await nodes[0]!.connect()).subscribe()
  const frame = { key: 'board', epoch: one.head.epoch, base: one.head.version, patches: [{ op: 'add', path: '/list/-', value: 4 }], push: { client: 'me', seq: 1 } }
  const first = await one.wire.ask(Opcode.STATE_PUSH, frame)
  t.equal(first.opcode, Opcode.STATE_ACK)
  for (const { connect } of nodes) {
    const again = await (await connect()).ask(Opcode.STATE_PUSH, frame)
    t.strictSame(again.payload, first.payload)
  }
  const wire = await nodes[1]!.connect()
  // two at once, of which the second finds the first in the same batch
  const both = [1, 2].map(() => wire.ask(Opcode.STATE_PUSH, { ...frame, base: first.payload.version, push: { client: 'me', seq: 2 } }))
  const [a, b] = await Promise.all(both)
  t.strictSame(a!.payload, b!.payload)
  t.strictSame(await nodes[0]!.ds.primitives.live.getState('board'), { title: 'a', list: [1, 2, 3, 4, 4] })
})

t.test('pushes: nor does a whole value that was there already, when others have replaced it meanwhile', async (t) => {
  const [here, there] = await cluster(t, 2, { rateLimit: false, prepare: (ds) => { ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'snapshot', initialValue: { n: 1 } }) } })
  const [one, two] = [await here!.connect(), await there!.connect()]
  const push = (wire: Wire, client: string, seq: number, n: number): Promise<Received> => wire.ask(Opcode.STATE_PUSH, { key: 'board', data: { n }, push: { client, seq } })
  const first = await push(one, 'one', 1, 1)
  t.equal(first.opcode, Opcode.STATE_ACK)
  t.equal((await push(two, 'two', 1, 2)).opcode, Opcode.STATE_ACK)
  t.strictSame((await push(await there!.connect(), 'one', 1, 1)).payload, first.payload)
  t.strictSame(await here!.ds.primitives.live.getState('board'), { n: 2 })
})

t.test('pushes: it is known on a node that came later, when the log has forgotten it', async (t) => {
  const backend = new MemoryBackend()
  const prepare: NodeOptions['prepare'] = (ds) => { ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue }) }
  const old = await node(t, { stateBackend: backend, rateLimit: false, prepare })
  const one = await new Pusher(await old.connect()).subscribe()
  const frame = { key: 'board', epoch: one.head.epoch, base: one.head.version, patches: [{ op: 'add', path: '/list/-', value: 4 }], push: { client: 'me', seq: 1 } }
  const { payload } = await one.wire.ask(Opcode.STATE_PUSH, frame)
  const other = new Pusher(await old.connect(), 'other')
  await other.subscribe()
  for (let i = 0; i < 150; i++) {
    const { payload } = await other.push([{ op: 'add', path: '/at', value: { text: `${i}`.padEnd(1000, 'x') } }])
    other.head.version = payload.version
  }
  const { commits, snapshot } = await backend.read('state:board')
  t.ok(snapshot!.version > payload.version && commits.length < 150, 'the log has been cut')
  t.match(snapshot!.value, / \{"value":/)
  await old.ds.close()
  const next = await node(t, { stateBackend: backend, rateLimit: false, prepare })
  const wire = await next.connect()
  t.strictSame((await wire.ask(Opcode.STATE_PUSH, frame)).payload, payload)
  const value = await next.ds.primitives.live.getState('board') as Board
  t.strictSame(value.list, [1, 2, 3, 4])
  t.match(value.at!.text, /^149x/)
  const fresh = await new Pusher(wire, 'me').subscribe()
  fresh.seq = 1
  await fresh.refused(t, 'CONFLICT', replace('/title', 'late'), { base: 1 })
})

t.test('pushes: what meets a change since its base is a conflict, and a snapshot follows', async (t) => {
  const { ds, pusher, value } = await board(t)
  const pushing = await pusher()
  const { version } = pushing.head
  const channel = ds.primitives.live.getSyncChannel('board')!
  await channel.update((draft) => { (draft as Board).at = { x: { y: 1 } } })
  await channel.update((draft) => { (draft as Board).list.push(4) })
  for (const patches of [
    replace('/at', 1), replace('/at/x', 1), replace('/at/x/y', 1), replace('', {}), replace('/list/0', 9), [{ op: 'remove', path: '/list/0' }],
    [{ op: 'test', path: '/list/1', value: 2 }], [{ op: 'copy', from: '/at', path: '/new' }], [{ op: 'move', from: '/list/0', path: '/new' }]
  ]) {
    await pushing.refused(t, 'CONFLICT', patches, { base: version })
    const snapshot = await pushing.wire.nextOf(Opcode.STATE_SNAPSHOT)
    t.match(snapshot, { id: 0, payload: { version: version + 2, data: { list: [1, 2, 3, 4] } } })
  }
  await pushing.refused(t, 'CONFLICT', [{ op: 'test', path: '/title', value: 'no' }], { base: version })
  await pushing.refused(t, 'CONFLICT', replace('/title', 'x'), { epoch: 'another' })
  await pushing.refused(t, 'CONFLICT', replace('/title', 'x'), { base: version + 100 })
  t.match(await pushing.push(replace('/title', 'elsewhere'), { base: version }), { opcode: Opcode.STATE_ACK, payload: { version: version + 3 } }, 'a stale base alone is none')
  t.strictSame(await value(), { title: 'elsewhere', list: [1, 2, 3, 4], at: { x: { y: 1 } } })
  const stranger = new Pusher((await pusher('stranger')).wire, 'stranger')
  await stranger.wire.ask(Opcode.PING, null)
  stranger.wire.send(Opcode.UNSUBSCRIBE, 0, { key: 'board' })
  stranger.wire.received.length = 0
  await stranger.refused(t, 'CONFLICT', replace('/title', 'x'), { epoch: 'another' })
  await stranger.wire.ping()
  t.equal(stranger.wire.received.length, 0, 'who does not mirror the key is told nothing of it')
})

t.test('pushes: what is no patch of the version that it names is refused, and changes nothing', async (t) => {
  const { pusher, value, ds } = await board(t)
  const pushing = await pusher()
  const before = await value()
  for (const patches of [
    'text', {}, [1], [{}], [{ op: 'nothing', path: '' }], [{ op: 'add', path: 'title', value: 1 }], [{ op: 'add', path: '/x' }], [{ op: 'replace', path: '/missing', value: 1 }],
    [{ op: 'remove', path: '' }], [{ op: 'add', path: '/list/9', value: 1 }], [{ op: 'add', path: '/list/__proto__', value: 1 }], [{ op: 'add', path: '/title/x', value: 1 }],
    [{ op: 'replace', path: '/title', value: 'x' }, { op: 'test', path: '/title', value: 'y' }], [{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }],
    [{ op: 'add', path: '/__proto__/polluted', value: 1 }], [{ op: 'move', from: '/list', path: '/list/0' }], [{ op: 'add', path: '/x'.repeat(500), value: 1 }]
  ]) await pushing.refused(t, 'INVALID_PATCH', patches)
  await pushing.refused(t, 'INVALID_PATCH', undefined)
  await pushing.refused(t, 'INVALID_PATCH', undefined, { data: { whole: true } })
  t.strictSame(await value(), before)
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
  t.match(await pushing.push([{ op: 'add', path: '/__proto__', value: { polluted: 1 } }]), { opcode: Opcode.STATE_ACK }, 'a member like any other')
  t.match(JSON.stringify(await value()), /"__proto__":\{"polluted":1\}/)
  t.equal(({} as { polluted?: unknown }).polluted, undefined)
  t.equal(ds.metrics.snapshot().pushesRefused, 19)
})

t.test('pushes: frames of the wrong shape are bad frames', async (t) => {
  const { pusher } = await board(t, { maxBadFrames: 100 })
  const pushing = await pusher()
  for (const more of [{ epoch: 1 }, { base: 'x' }, { base: -1 }, { base: 1.5 }, { push: undefined }, { push: 'x' }, { push: { client: 'c' } }, { push: { client: 1, seq: 1 } },
    { push: { client: '', seq: 1 } }, { push: { client: 'x'.repeat(65), seq: 1 } }, { push: { client: 'c', seq: 0 } }, { push: { client: 'c', seq: 1e300 } }, { key: 7 }, { key: 'x'.repeat(9000) }]) {
    t.match(await pushing.push(replace('/title', 1), more), { opcode: Opcode.ERROR, payload: { code: 'BAD_FRAME' } }, JSON.stringify(more).slice(0, 60))
  }
})

t.test('pushes to what takes none', async (t) => {
  const { ds, pusher } = await board(t)
  ds.primitives.live.createSyncChannel({ key: 'down', direction: 'server-to-client', mode: 'json-patch' })
  await ds.primitives.live.setState('plain', 1)
  const { wire } = await pusher()
  for (const key of ['down', 'plain', 'nothing', '__proto__', 'toString']) {
    t.match(await wire.ask(Opcode.STATE_PUSH, { key, data: 1, push: { client: 'me', seq: 1 } }), { opcode: Opcode.ERROR, payload: { code: 'UNKNOWN_KEY', key } })
  }
})

t.test('pushes: a push that the store did not take is to be sent again', async (t) => {
  const stateBackend = new ShakyBackend()
  const { pusher, value, logs, ds } = await board(t, { stateBackend })
  const pushing = await pusher()
  stateBackend.before = (method) => { if (method === 'commit') throw new Error('the disk is full') }
  const busy = { opcode: Opcode.ERROR, payload: { code: 'BUSY', key: 'board', retryAfter: Number } }
  t.match(await pushing.push(replace('/title', 'mine')), busy)
  t.match(await pushing.push(replace('/title', 'mine'), { push: { client: 'me', seq: 1 } }), busy)
  t.equal(logs.filter((line) => line.includes('the disk is full')).length, 1)
  stateBackend.before = () => undefined
  t.match(await pushing.push(replace('/title', 'mine'), { push: { client: 'me', seq: 1 } }), { opcode: Opcode.STATE_ACK })
  t.match(await value(), { title: 'mine' })

  // nor could it be read
  stateBackend.before = () => { throw new Error('the disk is gone') }
  ds.primitives.live.createSyncChannel({ key: 'other', direction: 'bidirectional', mode: 'json-patch', initialValue })
  t.match(await pushing.push(replace('/title', 'mine'), { key: 'other' }), { ...busy, payload: { ...busy.payload, key: 'other' } })
})

t.test('pushes: a client speaks for itself only', async (t) => {
  const { pusher, value } = await board(t, { authHandler: async (req) => ({ authenticated: true, userId: String(req.headers.user) }) })
  const ann = await pusher('shared', { user: 'ann' })
  await ann.push(replace('/title', 'ann'))
  t.match(await ann.push(replace('/title', 'x'), { push: { client: 'other', seq: 1 } }), { payload: { code: 'FORBIDDEN' } }, 'under one id')
  const bob = await pusher('shared', { user: 'bob' })
  t.match(await bob.push(replace('/title', 'bob'), { push: { client: 'shared', seq: 1 } }), { opcode: Opcode.STATE_ACK }, 'which is another one for another user')
  t.match(await value(), { title: 'bob' })
  const again = await pusher('shared', { user: 'ann' })
  await again.push(replace('/title', 'ann again'), { push: { client: 'shared', seq: 1 } })
  t.match(await value(), { title: 'bob' }, 'and the same for the same user')
})

t.test('pushes: size, depth and work are bounded', async (t) => {
  const { pusher, value } = await board(t, { options: { maxBytes: 20_000 }, maxJsonDepth: 20 })
  const pushing = await pusher()
  await pushing.refused(t, 'LIMIT_EXCEEDED', replace('/title', 'x'.repeat(20_000)))
  await pushing.refused(t, 'LIMIT_EXCEEDED', Array.from({ length: 10_001 }, () => ({ op: 'remove', path: '/x' })))
  const deep = (levels: number): unknown => levels === 0 ? 1 : [deep(levels - 1)]
  t.match(await pushing.push(replace('/title', deep(19))), { opcode: Opcode.STATE_ACK })
  pushing.head.version++
  await pushing.refused(t, 'LIMIT_EXCEEDED', [{ op: 'move', from: '/title', path: '/list/0' }])
  t.match(await pushing.push(replace('/title', deep(21))), { payload: { code: 'BAD_FRAME' } })
  const doubling = Array.from({ length: 40 }, () => ({ op: 'copy', from: '', path: '/at' }))
  await pushing.refused(t, 'LIMIT_EXCEEDED', doubling)
  const { payload } = await pushing.push([{ op: 'add', path: '/at', value: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`k${i}`, 'x'])) }, ...Array.from({ length: 9000 }, () => ({ op: 'test', path: '/at', value: {} }))])
  t.ok(['CONFLICT', 'INVALID_PATCH', 'LIMIT_EXCEEDED'].includes(payload.code))
  t.match(await value(), { list: [1, 2, 3] })
})

t.test('pushes: a member that goes and comes back, again and again, costs what all of them weigh', async (t) => {
  const members = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, i]))
  const { pusher } = await board(t, { options: { initialValue: { ...initialValue, at: members } } })
  const backAndForth = Array.from({ length: 5000 }, () => [{ op: 'remove', path: '/at/k1' }, { op: 'add', path: '/at/k1', value: 1 }]).flat()
  await (await pusher()).refused(t, 'LIMIT_EXCEEDED', backAndForth)
})

t.test('pushes: the value that a push makes is checked', async (t) => {
  const seen: unknown[] = []
  const { pusher, value, logs } = await board(t, {
    options: {
      schema: { type: 'object', required: ['title'], additionalProperties: false, properties: { title: { type: 'string' }, list: { type: 'array', items: { type: 'number' } } } },
      validate: (value: Board, ctx: { connectionId: string }) => {
        seen.push(ctx.connectionId)
        if (value.title === 'throw') throw new Error('not that')
        if (value.title === 'promise') return Promise.resolve(true)
        value.title = 'changed by who only looks'
        return value.list.length < 5
      }
    }
  })
  const pushing = await pusher()
  await pushing.refused(t, 'INVALID_VALUE', replace('/title', 5))
  await pushing.refused(t, 'INVALID_VALUE', [{ op: 'remove', path: '/title' }])
  await pushing.refused(t, 'INVALID_VALUE', [{ op: 'add', path: '/other', value: 1 }])
  t.match(await pushing.push(replace('/title', 'throw')), { payload: { code: 'INVALID_VALUE', message: 'not that' } })
  t.match(await pushing.push(replace('/list', [1, 2, 3, 4, 5])), { payload: { code: 'INVALID_VALUE' } })
  await pushing.refused(t, 'INTERNAL', replace('/title', 'promise'))
  t.match(logs.join(''), /validate must be synchronous/)
  t.strictSame(await value(), { title: 'b', list: [1, 2, 3] })
  t.match(await pushing.push([{ op: 'move', from: '/list', path: '/else' }, { op: 'move', from: '/else', path: '/list' }]), { opcode: Opcode.STATE_ACK }, 'only what comes out counts')
  t.match(await pushing.push(replace('/title', 'good'), { base: pushing.head.version }), { opcode: Opcode.STATE_ACK })
  t.strictSame(await value(), { title: 'good', list: [1, 2, 3] })
  t.ok(seen.every((id) => typeof id === 'string'))
})

t.test('pushes: prePush refuses, and keeps what it lets through in order', async (t) => {
  const { ds, pusher, value } = await board(t, { maxCallsInFlight: 5 })
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  let isSlow = true
  ds.addHook('prePush', async (_ctx, { key, patches }) => {
    t.equal(key, 'board')
    if (JSON.stringify(patches).includes('forbidden')) throw new Error('not yours')
    if (isSlow) await opened
  })
  const pushing = await pusher()
  const { version } = pushing.head
  const first = [1, 2, 3, 4].map((i) => pushing.push([{ op: 'add', path: `/n${i}`, value: i }]))
  const last = pushing.push([{ op: 'add', path: '/forbidden', value: 1 }])
  const over = await pushing.push([{ op: 'add', path: '/n6', value: 1 }])
  t.match(over, { payload: { code: 'BUSY', retryAfter: 100 } })
  isSlow = false
  open()
  const answers = await Promise.all(first)
  t.strictSame(answers.map(({ payload }) => payload.version), [1, 2, 3, 4].map((i) => version + i), 'in the order in which they came')
  t.match((await last).payload, { code: 'FORBIDDEN', message: 'not yours' })
  t.match(await value(), { n1: 1, n4: 4 })
})

t.test('pushes: what waits for a hook when its channel ends is not written, nor heard', async (t) => {
  const { ds, connect } = await node(t, { rateLimit: false })
  const { live } = ds.primitives
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  let waiting = 0
  let bothWait = (): void => {}
  const held = new Promise<void>((resolve) => { bothWait = resolve })
  ds.addHook('prePush', async () => {
    if (++waiting === 2) bothWait()
    await opened
  })
  const shared = live.createSyncChannel({ key: 'shared', direction: 'bidirectional', mode: 'snapshot', initialValue: 1 })
  const own = live.createSyncChannel({ key: 'own', direction: 'client-to-server', mode: 'snapshot' })
  own.onFlush(() => { t.fail('it was closed') })
  const wire = await connect()
  const answers = [['shared', 1], ['own', 2]].map(([key, seq]) => wire.ask(Opcode.STATE_PUSH, { key, data: 2, push: { client: 'me', seq } }))
  await held
  await shared.close()
  await own.close()
  live.createSyncChannel({ key: 'shared', direction: 'bidirectional', mode: 'snapshot', validate: () => false })
  open()
  for (const answer of answers) t.match(await answer, { payload: { code: 'UNKNOWN_KEY' } })
  t.equal(await live.getState('shared'), 1)
})

t.test('pushes count under a rule named after the key', async (t) => {
  const { pusher } = await board(t, { rateLimit: { rules: { board: { windowMs: 60_000, maxRequests: 2 } } } })
  const pushing = await pusher()
  for (const i of [1, 2]) await pushing.push([{ op: 'add', path: `/n${i}`, value: i }])
  t.match(await pushing.push([]), { payload: { code: 'RATE_LIMITED', key: 'board', retryAfter: Number } })
})

t.test('pushes: copies have one writer, and are bounded', async (t) => {
  const { ds, connect } = await node(t, { rateLimit: false })
  const form = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'client-to-server', mode: 'json-patch' })
  const contexts: unknown[] = []
  form.onFlush((_value, _patches, connection) => { contexts.push(connection) })
  const one = await new Pusher(await connect()).subscribe()
  t.match(await one.push([{ op: 'add', path: '', value: { a: 1 } }]), { opcode: Opcode.STATE_ACK, payload: { version: 1 } })
  await one.refused(t, 'CONFLICT', replace('/a', 2), { base: 0 })
  t.match(await one.wire.nextOf(Opcode.STATE_SNAPSHOT), { payload: { version: 1, data: { a: 1 } } })
  one.head.version = 1
  t.match(await one.push(replace('/a', 3)), { payload: { version: 2 } })
  t.match(await one.push(replace('/a', 4), { push: { client: 'me', seq: one.seq - 1 } }), { payload: { version: 2 } }, 'again')
  one.head.version = 2
  await one.refused(t, 'INVALID_PATCH', [{ op: 'replace', path: '/a', value: 5 }, { op: 'remove', path: '/b' }])
  await one.refused(t, 'LIMIT_EXCEEDED', replace('/a', 'x'.repeat(256 * 1024)))
  const other = await new Pusher(await connect()).subscribe()
  t.equal(other.head.version, 0, 'each has its own')
  await other.refused(t, 'CONFLICT', replace('/a', 2), { epoch: one.head.epoch, base: 2 })
  const [context] = contexts as [Parameters<typeof form.get>[0]]
  t.strictSame(await form.get(context), { a: 3 })
  one.wire.socket.terminate()
  await until(() => ds.transport.getConnectionCount() <= 1)
  t.equal(await form.get(context), undefined, 'it goes with its connection')
})

t.test('pushes: the ledger', async (t) => {
  t.equal(pushOf(commitId(undefined)), undefined)
  t.strictSame(pushOf(commitId({ client: 'c', seq: 7 })), { client: 'c', seq: 7 })
  const ledger = new PushLedger()
  for (let i = 0; i < 1000; i++) ledger.note(commitId({ client: `c${i}`, seq: 5 }), i + 1)
  ledger.note(commitId({ client: 'c0', seq: 6 }), 2000)
  ledger.note(commitId({ client: 'new', seq: 1 }), 2001)
  t.equal(ledger.size, 1000)
  t.equal(ledger.versionOf({ client: 'c1', seq: 5 }), undefined, 'who pushed least recently is forgotten')
  t.equal(ledger.versionOf({ client: 'c0', seq: 6 }), 2000)
  t.equal(ledger.versionOf({ client: 'c0', seq: 7 }), undefined)
  const { value, pushes } = unpackSnapshot(packSnapshot('{"a":1}', ledger))
  t.strictSame(value, { a: 1 })
  t.strictSame([...pushes], [...ledger], 'order included')
  t.strictSame(unpackSnapshot(packSnapshot('" x"', new PushLedger())).value, ' x')
  t.strictSame([...pushes.at(1)].every(([, , version]) => version === 1), true)
})

t.test('pushes: paths that meet', async (t) => {
  const touched = new TouchedPaths()
  touched.add([{ op: 'replace', path: '/a/b', value: 1 }, { op: 'add', path: '/list/3', value: 1 }, { op: 'move', from: '/from/x', path: '/to' }])
  for (const path of ['', '/a', '/a/b', '/a/b/c', '/list', '/list/0', '/list/0/x', '/to', '/from', '/from/x/y']) t.ok(touched.meets(replace(path, 1)) !== undefined, path)
  for (const path of ['/b', '/a/bc', '/a/c', '/lists', '/from/y', '/']) t.ok(touched.meets(replace(path, 1)) === undefined, path)
})
