import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { DatasoleClient, type DeepReadonly } from '../../lib/client/client.js'
import type { ChannelDirection, ChannelMode, Operation } from '../../lib/protocol/messages.js'
import type { FlushOptions } from '../../lib/server/channels/flush-strategy.js'
import type { ConnectionContext } from '../../lib/server/context/connection-context.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { WebSocket } from 'ws'
import { node, storeNode } from '../helpers/nodes.js'
import { takeOver } from '../helpers/take-over.js'
import { until } from '../helpers/until.js'

interface Board { n: number, items: string[], by?: string }

const DIRECTIONS: ChannelDirection[] = ['server-to-client', 'client-to-server', 'bidirectional']
const MODES: ChannelMode[] = ['json-patch', 'snapshot', 'crdt']
const FLUSHES: FlushOptions[] = [
  { flushStrategy: 'immediate' },
  { flushStrategy: 'batched', batchIntervalMs: 40, maxBatchSize: 3 },
  { flushStrategy: 'debounced', debounceMs: 30 }
]

interface Heard { value: Board | undefined, patches: Operation[], connection: ConnectionContext | null }

/** A client that is connected, and ends with the test. */
async function client (t: Tap, url: string): Promise<{ client: DatasoleClient<{ state: { board: Board } }>, errors: unknown[] }> {
  const errors: unknown[] = []
  const client = new DatasoleClient<{ state: { board: Board } }>({ url: url.replace('/__ds', ''), webSocket: WebSocket, onError: (error) => { errors.push(error) }, reconnectInterval: 1 })
  t.teardown(() => client.disconnect())
  await client.connect()
  return { client, errors }
}

type Tap = Pick<typeof t, 'teardown'>

for (const direction of DIRECTIONS) {
  for (const mode of MODES) {
    for (const flush of FLUSHES) {
      t.test(`${direction}, ${mode}, ${flush.flushStrategy}`, { timeout: 60_000 }, async (t) => {
        if (mode === 'crdt') return await merges(t, direction, flush)
        const heard: Heard[] = []
        const { ds, url, connect } = await node(t, { rateLimit: false })
        const channel = ds.primitives.live.createSyncChannel({ key: 'board', direction, mode, flush, initialValue: { n: 0, items: [] } })
        t.equal(ds.primitives.live.getSyncChannel('board'), channel)
        await channel.flush()
        channel.onFlush((value, patches, connection) => {
          heard.push({ value: value as Board, patches, connection })
        })
        const hears = async (n: number): Promise<Heard> => {
          await until(() => heard.at(-1)?.value?.n === n)
          return heard.at(-1)!
        }
        const writer = await client(t, url)
        const board = writer.client.channel('board')
        const seen: number[] = []
        board.subscribe((value) => {
          seen.push(value!.n)
        })
        const sees = async (n: number): Promise<void> => { await until(() => seen.at(-1) === n) }
        await sees(0)

        // who looks on sees what travels
        const wire = await connect()
        const answer = await wire.ask(Opcode.SUBSCRIBE, { key: 'board' })
        t.strictSame(answer.payload.channel, { direction, mode }, 'the answer says what the key is')
        t.strictSame(answer.payload.data, { n: 0, items: [] })

        const isWrittenHere = direction === 'server-to-client'
        if (isWrittenHere) {
          t.throws(() => { board.set({ n: 1, items: [] }) }, { code: 'UNKNOWN_KEY' })
        } else {
          board.update((draft) => { draft!.n++ })
          t.equal(board.get()!.n, 1, 'at once')
          await board.saved()
          await hears(1)
        }
        const started = performance.now()
        for (const i of [2, 3, 4]) {
          if (isWrittenHere) await channel.update((draft) => { (draft as Board).n = i; (draft as Board).items.push(`${i}`) })
          else {
            board.update((draft) => { draft!.n = i; draft!.items.push(`${i}`) })
            await board.saved()
          }
        }
        const { value, patches, connection } = await hears(4)
        const elapsed = performance.now() - started
        t.strictSame(value, { n: 4, items: ['2', '3', '4'] })
        t.equal(connection === null, direction !== 'client-to-server')
        if (mode === 'snapshot') t.strictSame(patches, [{ op: 'replace', path: '', value }])
        else if (flush.flushStrategy === 'immediate' && !isWrittenHere) t.match(patches, { length: 2 })
        if (flush.flushStrategy === 'debounced') t.ok(elapsed >= 25, 'not before it was quiet')
        if (direction === 'client-to-server') {
          t.equal(connection!.connectionId, writer.client.connectionId)
          t.strictSame(await channel.get(connection!), value)
          t.strictSame(await channel.get(), { n: 0, items: [] }, 'what copies begin with')
          await t.rejects(channel.set({ n: 9, items: [] }), { code: 'WRONG_DIRECTION' })
        } else {
          await sees(4)
          t.strictSame(await channel.get(), value)
          const kinds = new Set<number>()
          for (let version = answer.payload.version; ;) {
            const frame = await wire.waitFor(({ opcode }) => opcode === Opcode.STATE_PATCH || opcode === Opcode.STATE_SNAPSHOT)
            kinds.add(frame.opcode)
            if (mode === 'json-patch') t.equal(frame.payload.from, version, 'without a gap')
            version = frame.payload.version
            if (frame.payload.data?.n === 4 || JSON.stringify(frame.payload.patches ?? '').includes('"4"')) break
          }
          t.strictSame([...kinds], [mode === 'snapshot' ? Opcode.STATE_SNAPSHOT : Opcode.STATE_PATCH])
        }

        // what waits at the end is not lost
        if (isWrittenHere) await channel.set({ n: 5, items: [] })
        else {
          board.update((draft) => { draft!.n = 5 })
          await board.saved()
        }
        await channel.close()
        t.equal(heard.at(-1)!.value!.n, 5)
        t.equal(ds.primitives.live.getSyncChannel('board'), undefined)
        t.strictSame(writer.errors, [])
      })
    }
  }
}

/** Mode `crdt`: operations, which merge, instead of patches and values. */
async function merges (t: Test, direction: ChannelDirection, flush: FlushOptions): Promise<void> {
  const { ds, connect } = await node(t, { rateLimit: false })
  const channel = ds.primitives.live.createSyncChannel({ key: 'board', direction, mode: 'crdt', flush, initialValue: { n: 0, title: 'a' } })
  await until(async () => JSON.stringify(await channel.get()) === '{"n":0,"title":"a"}')
  await channel.flush()
  t.throws(() => { channel.onFlush(5 as never) }, { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /onFlush/ })
  const heard: Array<{ value: unknown, patches: Operation[], connection: ConnectionContext | null }> = []
  channel.onFlush((value, patches, connection) => {
    heard.push({ value, patches, connection })
  })
  const hears = async (n: number): Promise<void> => { await until(() => (heard.at(-1)?.value as Board | undefined)?.n === n) }
  const [one, two] = [await connect(), await connect()]
  for (const wire of [one, two]) {
    const { opcode, payload } = await wire.ask(Opcode.SUBSCRIBE, { key: 'board' })
    t.equal(opcode, Opcode.CRDT_STATE)
    t.match(payload, { state: { type: 'lww-map', value: { n: 0, title: 'a' } }, channel: { direction, mode: 'crdt' } })
  }
  let timestamp = Date.now()
  const op = (key: string, value: unknown): object => ({ key: 'board', op: { type: 'lww-map', nodeId: 'me', timestamp: ++timestamp, op: 'set', key, value } })
  t.match(await one.ask(Opcode.STATE_PUSH, { key: 'board', data: {}, push: { client: 'me', seq: 1 } }), { payload: { code: 'UNKNOWN_KEY' } })
  const isWrittenHere = direction === 'server-to-client'
  if (isWrittenHere) t.match(await one.ask(Opcode.CRDT_OP, op('n', 1)), { opcode: Opcode.ERROR, payload: { code: 'UNKNOWN_KEY' } })
  const started = performance.now()
  for (const n of [1, 2, 3]) {
    if (isWrittenHere) await channel.update((draft) => { (draft as Board).n = n })
    else t.equal((await one.ask(Opcode.CRDT_OP, op('n', n))).opcode, Opcode.CRDT_ACK)
  }
  await hears(3)
  if (flush.flushStrategy === 'debounced') t.ok(performance.now() - started >= 25)
  t.strictSame(heard.at(-1)!.patches.at(-1), { op: 'replace', path: '/n', value: 3 })
  if (direction === 'client-to-server') {
    const { connection } = heard.at(-1)!
    t.strictSame(await channel.get(connection!), { n: 3, title: 'a' })
    t.strictSame(await channel.get(), { n: 0, title: 'a' })
    await one.waitFor(({ opcode, payload }) => opcode === Opcode.CRDT_STATE && payload.state.value.n === 3)
    await two.ping()
    t.equal(two.received.filter(({ opcode }) => opcode === Opcode.CRDT_STATE || opcode === Opcode.CRDT_OP).length, 0, 'it is nobody else\'s')
  } else {
    t.equal(heard.at(-1)!.connection, null)
    t.strictSame(await channel.get(), { n: 3, title: 'a' })
    for (const wire of [one, two]) await wire.waitFor(({ opcode, payload }) => opcode === Opcode.CRDT_OP && payload.ops.some(({ value }: { value: unknown }) => value === 3))
    // what meets nothing in between merges
    await Promise.all([channel.update((draft) => { (draft as Board & { title: string }).title = 'b' }), direction === 'bidirectional' ? two.ask(Opcode.CRDT_OP, op('n', 4)) : channel.update((draft) => { (draft as Board).n = 4 })])
    t.strictSame(await channel.get(), { n: 4, title: 'b' })
  }
  if (direction === 'client-to-server') await one.ask(Opcode.CRDT_OP, op('n', 5))
  else await channel.set({ n: 5 })
  await channel.close()
  t.match(heard.at(-1)!.value, { n: 5 }, 'what waits at the end is not lost')
  t.equal(ds.primitives.live.getSyncChannel('board'), undefined)
}

t.test('channels: changes that were not looked at, because too much was inflated, are sent again', { timeout: 60_000 }, async (t) => {
  const { ds, url } = await node(t, { rateLimit: false, maxInflatedSize: 100_000 })
  ds.rpc.register('echo', (params) => params)
  const channel = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue: { n: 0, items: [] } })
  const writer = (await client(t, url)).client
  const board = writer.channel('board')
  await new Promise<void>((resolve) => { board.subscribe(() => { resolve() }) })
  const calls = Array.from({ length: 12 }, () => writer.rpc('echo', 'x'.repeat(90_000)).then(() => 0, ({ code }: { code: number }) => code))
  board.update((draft) => { draft!.items.push('y'.repeat(10_000)) })
  writer.crdt('map', 'lww-map').set('k', 'z'.repeat(10_000))
  t.ok((await Promise.all(calls)).includes(-32030), 'some calls were not')
  await board.saved()
  t.equal((await channel.get() as Board).items.length, 1)
  const map = ds.primitives.crdt.register('map', 'lww-map')
  await until(async () => (await map.value() as { k?: string } | undefined)?.k !== undefined)
})

t.test('the value says which CRDT it is, unless the channel does', async (t) => {
  const { ds } = await node(t)
  const { live } = ds.primitives
  const common = { direction: 'bidirectional', mode: 'crdt' } as const
  const counter = live.createSyncChannel({ ...common, key: 'counter', initialValue: 5 })
  await until(async () => await counter.get() === 5)
  await counter.set(3)
  await counter.update((n) => (n as number) + 10)
  t.equal(await counter.get(), 13)
  await t.rejects(counter.set('x'), { code: 'INVALID_ARGUMENT' })
  const register = live.createSyncChannel({ ...common, key: 'register', initialValue: ['a'] })
  await until(async () => await register.get() !== undefined)
  await register.update((draft) => { (draft as string[]).push('b') })
  t.strictSame(await register.get(), ['a', 'b'])
  const map = live.createSyncChannel({ ...common, key: 'map', type: 'lww-map' })
  await map.set({ a: 1, b: 2 })
  await map.set({ b: 3 })
  t.strictSame(await map.get(), { b: 3 })
  t.throws(() => live.createSyncChannel({ ...common, key: 'x', type: 'pn-counter', initialValue: {} }), { code: 'INVALID_ARGUMENT' })
  t.throws(() => live.createSyncChannel({ ...common, key: 'x', type: 'other' as never }), { code: 'INVALID_OPTION' })
  t.throws(() => live.createSyncChannel({ ...common, key: 'x', schema: {} }), { code: 'INVALID_OPTION' })
  t.throws(() => live.createSyncChannel({ ...common, mode: 'snapshot', key: 'x', type: 'lww-map' }), { code: 'INVALID_OPTION' })
  t.throws(() => ds.primitives.crdt.register('map', 'lww-map'), { code: 'DUPLICATE_KEY' })
  await map.close()
  ds.primitives.crdt.register('map', 'lww-map')
})

t.test('channels: what waits when the connection ends is flushed, with its context', { timeout: 60_000 }, async (t) => {
  const { ds, url } = await node(t, { rateLimit: false })
  const form = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'client-to-server', mode: 'json-patch', flush: { flushStrategy: 'debounced', debounceMs: 60_000 } })
  const heard = new Promise<[unknown, unknown]>((resolve) => { form.onFlush((value, _patches, connection) => { resolve([value, connection?.connectionId]) }) })
  const { client: tab } = await client(t, url)
  const { connectionId } = tab
  const board = tab.channel('board')
  board.set({ n: 1, items: ['x'] })
  await board.saved()
  await tab.disconnect()
  t.strictSame(await heard, [{ n: 1, items: ['x'] }, connectionId])
})

t.test('channels: and when the server closes', { timeout: 60_000 }, async (t) => {
  const { ds, url } = await node(t, { rateLimit: false })
  const flush: FlushOptions = { flushStrategy: 'debounced', debounceMs: 60_000 }
  const heard: unknown[] = []
  const form = ds.primitives.live.createSyncChannel({ key: 'form', direction: 'client-to-server', mode: 'snapshot', flush })
  form.onFlush(async (value) => {
    await sleep(5)
    heard.push(value)
  })
  const board = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', flush })
  board.onFlush((value) => { heard.push(value) })
  const { client: tab } = await client(t, url)
  const seen: unknown[] = []
  tab.subscribeState('board', (value) => { seen.push(value) })
  const { client: other } = await client(t, url)
  const pushed = other.channel('board')
  pushed.set({ n: 1, items: [] })
  const filled = (other as unknown as DatasoleClient).channel('form')
  filled.set('all of it')
  await Promise.all([pushed.saved(), filled.saved()])
  t.strictSame(heard, [])
  await ds.close()
  t.strictSame(heard, [{ n: 1, items: [] }, 'all of it'])
  await until(() => seen.at(-1) !== undefined)
  t.strictSame(seen.at(-1), { n: 1, items: [] })
})

t.test('channels: a debounce waits ten times its length at the most', async (t) => {
  const ds = await storeNode(t)
  const channel = ds.primitives.live.createSyncChannel({ key: 'busy', direction: 'server-to-client', mode: 'json-patch', flush: { flushStrategy: 'debounced', debounceMs: 20 } })
  let heard = 0
  channel.onFlush(() => { heard++ })
  const pass = takeOver(t)
  for (let ms = 0; ms < 199; ms++) {
    await channel.set(ms)
    pass(1)
  }
  await channel.get()
  t.equal(heard, 0, 'while it is not quiet, it waits')
  pass(1)
  await until(() => heard > 0)
  await channel.set('quiet')
  pass(19)
  await channel.get()
  t.equal(heard, 1)
  pass(1)
  await until(() => heard > 1)
})

t.test('channels: flushes do not overtake each other: what comes while a handler works is joined', { timeout: 60_000 }, async (t) => {
  const { ds } = await node(t)
  const channel = ds.primitives.live.createSyncChannel({ key: 'log', direction: 'server-to-client', mode: 'json-patch', initialValue: [] as number[] })
  await channel.flush()
  await sleep(0)
  const heard: Array<[unknown, number]> = []
  let release = (): void => {}
  channel.onFlush(async (value, patches) => {
    heard.push([value, patches.length])
    await new Promise<void>((resolve) => { release = resolve })
  })
  for (let i = 0; i < 4; i++) await channel.update((draft) => { (draft as number[]).push(i) })
  t.strictSame(heard, [[[0], 1]])
  release()
  await until(() => heard.length >= 2)
  t.strictSame(heard[1], [[0, 1, 2, 3], 3])
  release()
  await channel.flush()
  t.equal(heard.length, 2)
})

t.test('channels: who joins inside a window gets the newest value, and no patch twice', { timeout: 60_000 }, async (t) => {
  const { ds, connect } = await node(t)
  const channel = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'server-to-client', mode: 'json-patch', flush: { flushStrategy: 'debounced', debounceMs: 60_000 }, initialValue: { n: 0 } })
  await channel.update((draft) => { (draft as Board).n = 1 })
  const early = await connect()
  t.match((await early.ask(Opcode.SUBSCRIBE, { key: 'board' })).payload, { version: 2, data: { n: 1 } })
  await channel.update((draft) => { (draft as Board).n = 2 })
  const late = await connect()
  t.match((await late.ask(Opcode.SUBSCRIBE, { key: 'board' })).payload, { version: 3, data: { n: 2 } })
  await channel.update((draft) => { (draft as Board).n = 3 })
  await channel.flush()
  t.match((await early.nextOf(Opcode.STATE_PATCH)).payload, { from: 2, version: 4 })
  t.match((await late.nextOf(Opcode.STATE_PATCH)).payload, { from: 3, version: 4 })
  t.equal(early.received.filter(({ opcode }) => opcode === Opcode.STATE_PATCH).length, 0)
})

t.test('a key becomes a channel while somebody looks, and is one no more', { timeout: 60_000 }, async (t) => {
  const { ds, url } = await node(t, { rateLimit: false })
  await ds.primitives.live.setState('board', { n: 1, items: [] })
  const { client: tab, errors } = await client(t, url)
  const board = tab.channel('board')
  const values: Array<DeepReadonly<Board> | undefined> = []
  board.subscribe((value) => { values.push(value) })
  await until(() => values.length !== 0)
  t.throws(() => { board.set({ n: 2, items: [] }) }, { code: 'UNKNOWN_KEY' })
  const channel = ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch' })
  await until(() => {
    try {
      board.set({ n: 2, items: [] })
      return true
    } catch {
      return false // it has not heard yet
    }
  })
  await board.saved()
  t.strictSame(await ds.primitives.live.getState('board'), { n: 2, items: [] })
  await channel.close()
  await ds.primitives.live.setState('board', { n: 3, items: [] })
  await until(() => values.at(-1)?.n === 3)
  t.throws(() => { board.set({ n: 2, items: [] }) }, { code: 'UNKNOWN_KEY' })
  t.strictSame(errors, [])
})

t.test('channels: options are checked, and keys belong to one scope', async (t) => {
  const { ds } = await node(t)
  const { live } = ds.primitives
  const good = { key: 'k', direction: 'bidirectional', mode: 'json-patch' } as const
  for (const [change, named] of [
    [{ key: 5 }, 'key'], [{ direction: 'up' }, 'direction'], [{ mode: 'diff' }, 'mode'], [{ flush: 'now' }, 'flush'], [{ flush: { flushStrategy: 'later' } }, 'flush.flushStrategy'],
    [{ flush: { flushStrategy: 'batched', batchIntervalMs: 0 } }, 'flush.batchIntervalMs'], [{ flush: { flushStrategy: 'batched', maxBatchSize: 1.5 } }, 'flush.maxBatchSize'],
    [{ flush: { flushStrategy: 'debounced', debounceMs: 2 ** 30 } }, 'flush.debounceMs'], [{ flush: { flushStrategy: 'immediate', debounceMs: 5 } }, 'flush.debounceMs'],
    [{ schema: 1 }, 'schema'], [{ validate: 1 }, 'validate'], [{ maxBytes: 0 }, 'maxBytes'], [{ colour: 'red' }, 'colour']
  ] as const) {
    t.throws(() => live.createSyncChannel({ ...good, ...change } as never), { code: 'INVALID_OPTION', message: new RegExp(`option ${named.replace('.', '\\.')} `) })
  }
  t.throws(() => live.createSyncChannel({ ...good, initialValue: 1n as never }), { code: 'INVALID_JSON' })
  live.createSyncChannel(good)
  t.throws(() => live.createSyncChannel(good), { code: 'DUPLICATE_KEY' })
  t.throws(() => live.createSyncChannel({ ...good, key: 'x', schema: { type: 'nonsense' } }), /schema/)
  t.equal(live.getSyncChannel('x'), undefined)
  const below = ds.derive()
  t.throws(() => { below.primitives.live.register('k') }, { code: 'DUPLICATE_KEY' })
  below.primitives.live.register('mine')
  t.throws(() => live.createSyncChannel({ ...good, key: 'mine' }), { code: 'DUPLICATE_KEY' })
  below.primitives.live.createSyncChannel({ ...good, key: 'mine' })
})

t.test('a data channel: methods, events and state of one key, with one end', { timeout: 60_000 }, async (t) => {
  const { ds, connect } = await node(t, { rateLimit: false })
  const { live } = ds.primitives
  const heard: unknown[] = []
  const options = {
    key: 'game',
    state: { direction: 'server-to-client', mode: 'json-patch', initialValue: { n: 1 } },
    rpc: { add: (params: unknown) => (params as number) + 1, checked: { schema: { params: { type: 'number' } }, handler: () => 'ok' } },
    events: { say: ({ data }: { data: unknown }) => { heard.push(data) } }
  } as const
  const game = live.createDataChannel(options)
  t.equal(live.getDataChannel('game'), game)
  t.equal(game.state, live.getSyncChannel('game'))
  const wire = await connect()
  t.match((await wire.ask(Opcode.SUBSCRIBE, { key: 'game' })).payload, { data: { n: 1 } })
  t.match(await wire.call('game.add', 1), { result: 2 })
  t.match(await wire.call('game.checked', 'x'), { error: { code: -32602 } })
  wire.send(Opcode.EVENT_C2S, 0, { event: 'game.say', data: 'hello' })
  await wire.ping()
  game.emit('say', 'from here')
  t.strictSame(heard, ['hello', 'from here'])
  game.broadcast('told', 5)
  t.match((await wire.nextOf(Opcode.EVENT_S2C)).payload, { event: 'game.told', data: 5 })
  t.throws(() => live.createDataChannel(options), { code: 'DUPLICATE_KEY' })
  for (const none of [undefined, null, 'x']) t.throws(() => live.createDataChannel(none as never), { name: 'TypeError', code: 'INVALID_ARGUMENT', message: /createDataChannel: the options/ })
  t.throws(() => live.createDataChannel({ key: 'x', colour: 1 } as never), { code: 'INVALID_OPTION', message: /colour/ })
  ds.rpc.register('other.taken', () => 1)
  t.throws(() => live.createDataChannel({ key: 'x', rpc: { m: { timeout: 5, handler: () => 1 } as never } }), { code: 'INVALID_OPTION', message: /"x\.m".*option timeout / })
  t.throws(() => live.createDataChannel({ key: 'x', rpc: { m: null as never } }), { code: 'INVALID_METHOD', message: /"x\.m"/ })
  t.throws(() => live.createDataChannel({ key: 'other', rpc: { free: () => 1, taken: () => 1 } }), { code: 'DUPLICATE_METHOD' })
  t.match(await wire.call('other.free'), { error: { code: -32601 } }, 'all of it, or nothing')
  await game.close()
  await game.close()
  t.match(await wire.call('game.add', 1), { error: { code: -32601 } })
  t.equal(live.getSyncChannel('game'), undefined)
  await live.createDataChannel(options).close()
})

t.test('writes of a node to a channel of mode crdt follow each other', async (t) => {
  const { live } = (await storeNode(t)).primitives
  const common = { direction: 'bidirectional', mode: 'crdt' } as const
  const count = live.createSyncChannel({ key: 'count', ...common, initialValue: 0 })
  await Promise.all([count.set(5), count.set(5)])
  t.equal(await count.get(), 5)
  await Promise.all([count.set(1), count.update((value) => (value as number) + 1), count.update((value) => (value as number) * 10)])
  t.equal(await count.get(), 20)
  const begun = live.createSyncChannel({ key: 'begun', ...common, initialValue: 100 })
  await begun.set(3)
  t.equal(await begun.get(), 3, 'the first value is set first')
  const map = live.createSyncChannel({ key: 'map', ...common, initialValue: {} })
  const value = { a: 1 }
  const writes = [map.set(value), map.update(() => { throw new Error('no') }), map.set({ b: 1 })]
  value.a = 2
  const [first, failed, last] = await Promise.allSettled(writes)
  t.match(first, { value: [{ op: 'add', path: '/a', value: 1 }] })
  t.equal(failed!.status, 'rejected')
  t.equal(last!.status, 'fulfilled')
  t.strictSame(await map.get(), { b: 1 })
  const many = await Promise.allSettled(Array.from({ length: 10_001 }, () => count.set(7)))
  t.match(many.filter(({ status }) => status === 'rejected'), [{ reason: { code: 'BUSY' } }])
  t.equal(await count.get(), 7)
})
