import { fileURLToPath } from 'node:url'
import t from 'tap'
import { WebSocket } from 'ws'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { DatasoleClient } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { type ExecutorOptions, RpcError } from '../../plugins/server.js'
import { awkward, odd } from '../helpers/awkward.js'
import { cluster } from '../helpers/nodes.js'

const { EVENT_S2C } = Opcode
const workerScript = fileURLToPath(new URL('values-script.js', import.meta.url))
const executor: Partial<ExecutorOptions> = { model: 'thread-pool', poolSize: 1, workerScript, execArgv: [] }
const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

type Thrown = { name: string, code: unknown, message: string, data?: unknown, cause?: Thrown }
const thrown = async (run: () => unknown): Promise<Thrown | 'taken'> => {
  try {
    await run()
    return 'taken'
  } catch (error) {
    return error as Thrown
  }
}

t.test('values: what JSON cannot hold is refused on every way, with its path and one code', async (t) => {
  const [node] = await cluster(t, 1, { executor, rateLimit: false, authHandler: () => ({ authenticated: true, userId: 'ann' }) })
  const { ds, logs } = node!
  const { live, state, events, fanout, sessions, crdt } = ds.primitives
  const channel = live.createSyncChannel({ key: 'channel', direction: 'bidirectional', mode: 'json-patch', flush: { flushStrategy: 'immediate' } })
  const data = live.createDataChannel({ key: 'data' })
  const register = crdt.register('crdt', 'lww-register')
  ds.rpc.register('echo', (params) => params)
  ds.rpc.register('result', (name) => ({ v: awkward[name as string]![0] }))
  ds.rpc.register('later', async (name) => ({ v: awkward[name as string]![0] }))
  ds.rpc.register('data', (name) => { throw new RpcError(5, 'with data', { v: awkward[name as string]![0] }) })
  const wire = await node!.connect()
  const client = new DatasoleClient({ url: node!.url, webSocket: WebSocket as never })
  t.teardown(() => client.disconnect())
  await client.connect()

  const ways: Array<[way: string, path: string, run: (value: unknown) => unknown]> = [
    ['setState', '/v', (value) => live.setState('k', value)],
    ['update', '/v', (value) => live.update('k', () => value)],
    ['state.setState', '/v', (value) => state.setState('k', value)],
    ['channel.set', '/v', (value) => channel.set(value)],
    ['crdt.set', '/v', (value) => register.set(value as never)],
    ['rpc.call', '/v', (value) => ds.rpc.call('echo', value)],
    ['rpc.call to a thread', '/v', (value) => ds.rpc.call('t.echo', value)],
    ['emit', '/v', (value) => { events.emit('e', value) }],
    ['broadcast', '/v', (value) => { fanout.broadcast('e', value) }],
    ['dataChannel.emit', '/v', (value) => { data.emit('e', value) }],
    ['dataChannel.broadcast', '/v', (value) => { data.broadcast('e', value) }],
    ['sessions.set', '/k/v', (value) => { sessions.set('ann', 'k', value) }],
    ['client.rpc', '/params/v', (value) => client.rpc('echo', value)],
    ['client.emit', '/data/v', (value) => client.emit('e', value)]
  ]
  for (const [name, [value, called]] of Object.entries(awkward)) {
    const found = name === 'cycle' ? '/v/self' : '/v'
    const says = (path: string): RegExp => new RegExp(`JSON cannot hold ${called}, found at "${path.replace('/v', found)}"`)
    for (const [way, path, run] of ways) t.match(await thrown(() => run({ v: value })), { name: 'TypeError', code: 'INVALID_JSON', message: says(path) }, `${way}: ${name}`)
    for (const way of ['setState', 'state.setState', 'update', 'emit', 'broadcast', 'sessions.set']) {
      const path = way === 'sessions.set' ? '/k/v' : '/v'
      t.match((await wire.call('t.refused', [way, name])).result, { name: 'TypeError', code: 'INVALID_JSON', message: says(path) }, `${way} in a thread: ${name}`)
    }
    // results and data of errors are the server's fault: their callers cannot do anything about it
    for (const method of ['result', 'later', 't.result']) {
      logs.length = 0
      const { error } = await wire.call(method, name)
      t.match(error, { code: -32603, message: 'internal error', data: { code: 'INTERNAL', id: String } }, `${method}: ${name}`)
      const line = logs.map((each) => JSON.parse(each)).find(({ id }) => id === error.data.id)
      t.match(line, { level: 50, method, connectionId: String, err: { message: says('/v') } })
      const local = await thrown(() => ds.rpc.call(method, name)) as Thrown
      t.match(local, { name: 'RpcError', code: -32603, data: { code: 'INTERNAL' }, cause: { code: 'INVALID_RESULT', message: says('/v') } }, `${method} in process: ${name}`)
    }
    for (const method of ['data', 't.data']) {
      logs.length = 0
      t.strictSame((await wire.call(method, name)).error, { code: 5, message: 'with data' }, `${method}: ${name}`)
      t.match(logs.map((each) => JSON.parse(each) as object), [{ level: 50, method, err: { message: says('/v') } }], `${method}: the path is logged`)
      t.match(await thrown(() => ds.rpc.call(method, name)), { code: 5, message: 'with data', data: undefined })
    }
  }
})

t.test('values: what arrives is the JSON copy of what was sent, on every way; absent data stays absent', async (t) => {
  const backend = new MemoryBackend()
  const heard = new Map<string, unknown[]>()
  const [a, b] = await cluster(t, 2, {
    stateBackend: backend,
    executor,
    rateLimit: false,
    prepare: (ds) => {
      ds.rpc.register('echo', (params) => ({ params: typeof params === 'undefined' ? 'absent' : params }))
      ds.rpc.register('odd result', () => odd())
      ds.rpc.register('nothing', () => {})
    }
  })
  for (const [name, { ds }] of [['a', a!], ['b', b!]] as const) {
    for (const event of ['e', 'thread']) ds.primitives.events.on(event, (message) => { heard.set(`${name} ${event}`, [...heard.get(`${name} ${event}`) ?? [], message]) })
  }
  const [near, far] = [await a!.connect(), await b!.connect()]
  const expected = plain(odd())
  const { events, fanout, live } = a!.ds.primitives
  const mine = odd()
  events.emit('e', mine)
  fanout.broadcast('e', mine)
  mine.list = 'changed later'
  for (const wire of [near, far]) t.strictSame((await wire.nextOf(EVENT_S2C)).payload.data, expected, 'broadcast')
  await near.call('t.odd', 'emit')
  await near.call('t.odd', 'broadcast')
  for (const wire of [near, far]) t.strictSame((await wire.nextOf(EVENT_S2C)).payload.data, expected, 'broadcast from a thread')
  for (const key of ['a e', 'b e', 'a thread', 'b thread']) t.match(heard.get(key), [{ data: expected }], key)
  events.emit('to threads', odd())
  // each node has a thread that handles it
  for (let i = 0; i < 2; i++) t.strictSame((await near.nextOf(EVENT_S2C)).payload.data, { has: true, data: expected }, 'a handler in a thread')

  for (const method of ['echo', 't.echo']) {
    t.strictSame(await a!.ds.rpc.call(method, odd()), { params: expected }, method)
    t.strictSame(await a!.ds.rpc.call(method, undefined), { params: 'absent' }, method)
    t.strictSame((await near.call(method)).result, { params: 'absent' }, method)
  }
  for (const method of ['odd result', 't.odd result']) {
    t.strictSame((await near.call(method)).result, expected, method)
    t.strictSame(await a!.ds.rpc.call(method, null), expected, `${method} in process`)
  }
  for (const method of ['nothing', 't.nothing']) t.strictSame([(await near.call(method)).result, await a!.ds.rpc.call(method, null)], [null, null], method)
  await live.setState('k', odd())
  t.strictSame(await live.getState('k'), expected)

  heard.clear()
  near.received.length = 0
  far.received.length = 0
  events.emit('e', undefined)
  fanout.broadcast('e', undefined)
  await near.call('t.absent')
  for (const wire of [near, far]) {
    for (const event of ['e', 'thread']) {
      const { payload } = await wire.waitFor((frame) => frame.opcode === EVENT_S2C && frame.payload.event === event)
      t.notOk('data' in payload, `${event} without data`)
    }
  }
  for (const key of ['a e', 'b e', 'a thread', 'b thread']) t.match(heard.get(key), [{ data: undefined, timestamp: Number }], key)
  t.throws(() => { events.emit(5 as never, 1) }, { code: 'INVALID_ARGUMENT' })
  t.throws(() => { fanout.broadcast(undefined as never, 1) }, { code: 'INVALID_ARGUMENT' })
})

t.test('values: a handler that changes what it got changes it for no thread, and not for the sender', async (t) => {
  const [node] = await cluster(t, 1, { executor, rateLimit: false })
  const { ds } = node!
  ds.primitives.events.on('to threads', ({ data }) => { (data as { n: number }).n = 99 })
  ds.rpc.register('change', (params) => { (params as { n: number }).n = 99; return params })
  const wire = await node!.connect()
  const sent = { n: 1 }
  ds.primitives.events.emit('to threads', sent)
  t.strictSame((await wire.nextOf(EVENT_S2C)).payload.data, { has: true, data: { n: 1 } })
  wire.send(Opcode.EVENT_C2S, 0, { event: 'to threads', data: sent })
  t.strictSame((await wire.nextOf(EVENT_S2C)).payload.data, { has: true, data: { n: 1 } })
  const kept = { n: 1 }
  ds.rpc.register('give', () => kept)
  ;(await ds.rpc.call('give', null) as { n: number }).n = 99
  t.strictSame(await ds.rpc.call('change', sent), { n: 99 })
  t.strictSame([sent, kept], [{ n: 1 }, { n: 1 }])
})
