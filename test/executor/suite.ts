import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { ExecutorOptions } from '../../lib/server/config/server-options.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { Running, Start } from '../helpers/entrances.js'
import { cardBoard, movedBoard } from '../helpers/moving-recipe.js'
import { randomOf, seed } from '../helpers/random.js'
import { type Wire, encode } from '../helpers/wire.js'
import { crdtStory } from './script.js'
import { until } from '../helpers/until.js'

const { RPC_REQ, RPC_RES, RPC_CANCEL, EVENT_C2S, EVENT_S2C, ERROR } = Opcode
const workerScript = fileURLToPath(new URL('script.js', import.meta.url))
const pool = (more?: Partial<ExecutorOptions>): { executor: Partial<ExecutorOptions>, rateLimit: false } => ({ rateLimit: false, executor: { model: 'thread-pool', poolSize: 2, workerScript, execArgv: [], ...more } })

const authHandler = (): object => ({ authenticated: true, extra: null, userId: 'ada', roles: ['admin'], metadata: { plan: 'pro', check: () => true } })

function counts ({ ds }: Running): NonNullable<ReturnType<Running['ds']['metrics']['snapshot']>['executor']> {
  return ds.metrics.snapshot().executor!
}

/** A call that blocks the event loop of its thread until `release`. */
function block (t: Test, wire: Wire): { blocking: Promise<unknown>, release: () => void } {
  const file = join(t.testdir(), 'release')
  return { blocking: wire.call('block', file), release: () => { writeFileSync(file, '') } }
}

/** What handlers in threads do, through one of the entrances. */
export function suite (t: Test, start: Start): void {
  t.test('methods of the script run in threads, others here; every answer is as it would be here', async (t) => {
    const server = await start(t, { ...pool(), authHandler: authHandler as never })
    const { ds, connect } = server
    const wire = await connect()
    const v1 = await server.connectV1()
    t.not((await wire.call('thread')).result, 0)
    t.equal((await wire.call('echo', 'here')).result, 'here')
    for (const value of [1, 'é€𝄞', [{}], null, { ['__proto__']: 1 }, 'x'.repeat(3000), 'y'.repeat(5000), randomUUID().repeat(3000)]) {
      t.strictSame((await wire.call('w.echo', value)).result, value)
      t.strictSame((await v1.call('w.later', value)).result, value)
    }
    t.equal((await wire.call('w.echo')).result, null)
    t.match(await wire.call('throws', 'plain'), { error: { code: -32000, message: 'plain' } })
    t.notMatch(JSON.stringify(await wire.call('throws', 'plain')), /script\.|stack/)
    t.match(await wire.call('throws', 'coded'), { error: { code: 4711, message: 'coded', data: { why: 1 } } })
    t.match(await wire.call('throws', 'circular'), { error: { code: -32603 } })
    t.match(await wire.call('late'), { error: { code: -32603 } })
    t.match(server.logs.join(''), /register before the default export/)
    t.match(await wire.call('schema', {}), { error: { code: -32602, data: { code: 'INVALID_PARAMS', errors: [{ keyword: 'required' }] } } })
    t.match(await wire.call('schema', { a: 'x' }), { error: { code: -32603 } })
    t.equal((await wire.call('schema', { a: 1 })).result, 1)
    t.match(await ds.rpc.call('w.echo', { a: [1] }), { a: [1] })
    await t.rejects(ds.rpc.call('throws', 'coded'), { code: 4711, message: 'coded', data: { why: 1 } })
    t.throws(() => { ds.rpc.register('w.echo', () => 1) }, { code: 'DUPLICATE_METHOD' })
    t.ok(ds.metrics.snapshot().rpcErrors >= 6)
  })

  t.test('a context is a copy, and what is done to it is done before the answer leaves', async (t) => {
    const hooks = { values: true }
    const server = await start(t, {
      ...pool(),
      authHandler: authHandler as never,
      prepare: (ds) => {
        ds.addHook('onConnect', (connection) => {
          connection.tags.add('from-main')
          if (hooks.values) connection.set('db', { query: () => {} })
          connection.set('list', [1])
        })
        ds.rpc.register('here', (_, { connection }) => ({ tags: [...connection.tags], cart: connection.get('cart') }))
        ds.rpc.register('touch', (_, { connection }) => { connection.get<number[]>('list')!.push(2) })
      }
    })
    const wire = await server.connect()
    const { result } = await wire.call('context')
    t.match(result, { auth: { userId: 'ada' }, userId: 'ada', roles: ['admin'], plan: 'pro', tags: ['from-main'], protocol: 3, remoteAddress: /127/ })
    t.match(await wire.call('get', 'db'), { error: { code: -32603 } })
    t.match(server.logs.join(''), /of the connection cannot be sent between threads: the value at \/query is a function/)
    t.match(await wire.call('metadata', 'check'), { error: { code: -32603 } })
    t.match(server.logs.join(''), /auth\.metadata\.check cannot be sent/)
    t.match(await wire.call('change'), { result: { code: 'CANNOT_CROSS', message: /fn.*\/deep\/0 is a function/ } })
    t.strictSame((await wire.call('here')).result, { tags: ['from-worker'], cart: { items: [1] } })
    t.strictSame((await wire.call('context')).result.tags, ['from-worker'])
    t.strictSame((await wire.call('get', 'cart')).result, { items: [1] })
    await wire.call('touch')
    t.strictSame((await wire.call('get', 'list')).result, [1, 2], 'objects that were changed in place cross anew')
  })

  t.test('state, events, broadcasts, sessions and the log work from there', async (t) => {
    const server = await start(t, { ...pool(), authHandler: authHandler as never })
    const { ds, connect, logs } = server
    const [a, b] = [await connect(), await connect()] as const
    t.equal(await ds.primitives.state.getState('loads'), 1)
    t.strictSame((await a.call('state')).result, { value: { a: 2, ['__proto__']: 2 }, deleted: true, gone: true, refused: 'JSON cannot hold a bigint, found at "/a": give plain objects, arrays, strings, finite numbers, booleans or null' })
    t.strictSame((await a.call('session')).result, ['dark', true, null])
    for (const target of [null, { too: { user: 'ada' } }, { to: null }]) t.strictSame((await a.call('broadcast to', target)).result, { name: 'TypeError', code: 'INVALID_ARGUMENT' })
    t.strictSame((await a.call('big')).result, ['INVALID_JSON', 'INVALID_JSON', 'INVALID_ARGUMENT'].map((code) => ({ name: 'TypeError', code })))
    t.equal((await a.call('broadcast to', { to: { user: 'nobody' } })).result, 'sent')
    t.match(await a.call('nobody'), { error: { code: 1, message: 'NO_USER_ID' } })
    a.send(EVENT_C2S, 1, { event: 'relay', data: { n: 1 } })
    t.match((await b.nextOf(EVENT_S2C)).payload, { event: 'relay', data: { data: { n: 1 }, from: /./ } })
    ds.primitives.events.emit('relay', 2)
    t.match((await b.nextOf(EVENT_S2C)).payload, { data: { data: 2, from: null } })
    ds.primitives.events.on('note', () => {})
    a.send(EVENT_C2S, 1, { event: 'note', data: 'also here' })
    t.strictSame((await a.call('seen')).result, ['also here'])
    a.send(EVENT_C2S, 1, { event: 'fails' })
    await a.call('log')
    await a.call('w.echo')
    t.match(logs.join(''), /said in a worker/)
    t.match(logs.join(''), /an event failed/)
    t.equal(b.received.filter(({ opcode }) => opcode === EVENT_S2C).length, 0, 'an event of server code is handled by one thread')
  })

  t.test('CRDTs are the same from there as from here', async (t) => {
    const [there, here] = [await start(t, pool()), await start(t, pool())]
    const [wire, other] = [await there.connect(), await there.connect()]
    const inWorker = (await wire.call('crdts')).result as unknown[]
    const onMain = await crdtStory(here.ds.primitives.crdt)
    t.strictSame(inWorker, JSON.parse(JSON.stringify(onMain)))
    t.ok(inWorker.length > 45)
    // both threads have registered the key, and so has nobody's loss
    t.equal(there.ds.primitives.crdt.get('total')?.type, 'pn-counter')
    await Promise.all([wire, other].flatMap((each) => Array.from({ length: 20 }, () => each.call('count up', 3))))
    await there.ds.primitives.crdt.get('total')!.value().then((value) => { t.equal(value, 80) })
  })

  t.test('an unsubscriber there ends its own subscription', async (t) => {
    const wire = await (await start(t, pool())).connect()
    for (const heard of [2, 3, 3]) {
      wire.send(EVENT_C2S, 1, { event: 'twice' })
      t.equal((await wire.call('heard')).result, heard)
      await wire.call('end one')
    }
  })

  t.test('hooks guard them on the main thread, and parse only if they look', async (t) => {
    const calls: unknown[] = []
    const server = await start(t, {
      ...pool(),
      prepare: (ds) => {
        ds.addHook('preRpc', (_ctx, call) => {
          calls.push(call.method)
          if (call.method === 'w.echo' && call.params === 'no') throw new Error('not this')
        })
        ds.addHook('preEvent', async (_ctx, message) => { await null; if (message.data === 'no') throw new Error('nor this') })
      }
    })
    const wire = await server.connect()
    t.match(await wire.call('w.echo', 'no'), { error: { code: -32003, message: 'not this' } })
    t.equal((await wire.call('w.echo', 'yes')).result, 'yes')
    await t.rejects(server.ds.rpc.call('w.echo', 'no'), { code: -32003 })
    wire.send(EVENT_C2S, 7, { event: 'note', data: 'no' })
    wire.send(EVENT_C2S, 8, { event: 'note', data: 'yes' })
    t.match(await wire.nextOf(ERROR), { id: 7, payload: { code: 'FORBIDDEN', message: 'nor this' } })
    t.strictSame((await wire.call('seen')).result, ['yes'])
    t.ok(calls.includes('seen'))
    const frame = encode(RPC_REQ, 9, { method: 'w.echo' })
    frame[frame.length - 1] = 0x5d // ] instead of }
    wire.sendRaw(frame)
    t.match(await wire.nextOf(ERROR), { id: 9, payload: { code: 'BAD_FRAME' } }, 'the hook looked at what is no JSON')
  })

  t.test('a bad frame is one wherever it is found', async (t) => {
    const server = await start(t, { ...pool(), maxJsonDepth: 5 })
    const { connect } = server
    const wire = await connect()
    await wire.next()
    const bad = (text: string | Buffer, opcode: number = RPC_REQ): Buffer => {
      const payload = Buffer.from(text as string)
      const frame = encode(opcode, 9, null).subarray(0, 9)
      frame.writeUInt32BE(payload.length, 5)
      return Buffer.concat([frame, payload])
    }
    const frames = [
      bad('{"method":"w.echo","correlationId":9'), bad('{"method":"w.echo","correlationId":8}'), bad('{"method":"w.echo"}'),
      bad(Buffer.from('7b226d6574686f64223a22772e6563686f222c22ff', 'hex')), bad(`{"method":"w.echo","correlationId":9,"params":${'['.repeat(50)}${']'.repeat(50)}}`),
      bad('{"event":"note",', EVENT_C2S), bad(`{"method":"w.echo","correlationId":9,"params":"${'x'.repeat(9000)}`)
    ]
    for (const frame of frames) {
      wire.sendRaw(frame)
      t.match(await wire.next(), { opcode: ERROR, id: 9, payload: { code: 'BAD_FRAME' } })
      if (frame[0] === RPC_REQ) t.match(await wire.next(), { opcode: RPC_RES, id: 9, payload: { error: { code: -32600, data: { code: 'BAD_FRAME' } } } })
    }
    wire.sendRaw(bad('{"method":"unknown","\\u006dethod":"w.echo","correlationId":9,"params":1}'))
    t.match((await wire.next()).payload, { result: 1 }, 'of two the last one counts')
    t.equal(server.ds.metrics.snapshot().badFrames, frames.length)
    for (let i = 0; i < 5; i++) wire.sendRaw(frames[0]!)
    t.equal((await wire.closed).code, 1002)
  })

  t.test('frames of a connection begin in order, in one thread', async (t) => {
    t.comment(`SEED=${seed}`)
    const random = randomOf(seed)
    const server = await start(t, { ...pool({ maxQueuePerConnection: 1000 }), maxCallsInFlight: 1000 })
    const wires = await Promise.all(Array.from({ length: 6 }, () => server.connect()))
    const threads = await Promise.all(wires.map(async (wire, i) => {
      const expected: unknown[] = []
      for (let n = 0; n < 60; n++) {
        const data = random(10) === 0 ? `${n}${'x'.repeat(6000)}` : `${n}`
        wire.send(EVENT_C2S, 0, { event: 'note', data: { i, data } })
        expected.push({ i, data })
      }
      const found = new Set()
      for (let n = 0; n < 5; n++) found.add((await wire.call('thread')).result)
      t.equal(found.size, 1)
      const { result } = await wire.call('seen')
      return { thread: [...found][0], seen: result as Array<{ i: number }>, expected }
    }))
    for (const [i, { expected }] of threads.entries()) t.strictSame(threads.flatMap(({ seen }) => seen).filter((one) => one.i === i), expected)
    t.equal(new Set(threads.map(({ thread }) => thread)).size, 2)
    t.equal(counts(server).assigned, 6)
    for (const { thread } of threads) t.equal(threads.filter((one) => one.thread === thread).length, 3, 'least connections')
    for (const wire of wires) await wire.close()
    await until(() => counts(server).assigned === 0)
  })

  t.test('concurrent updates from everywhere lose nothing', async (t) => {
    const server = await start(t, { ...pool({ poolSize: 3 }) })
    const wires = await Promise.all(Array.from({ length: 3 }, () => server.connect()))
    const here = Promise.all(Array.from({ length: 40 }, () => server.ds.primitives.live.update('n', (n) => ((n as number | undefined) ?? 0) + 1)))
    await Promise.all(wires.flatMap((wire) => Array.from({ length: 40 }, () => wire.call('increment', 'n'))))
    await here
    t.equal(await server.ds.primitives.live.getState('n'), 160)
  })

  t.test('a recipe edits what it has moved', async (t) => {
    const server = await start(t, pool())
    await server.ds.primitives.live.setState('board', cardBoard)
    await (await server.connect()).call('moving recipe', 'board')
    t.same(await server.ds.primitives.live.getState('board'), movedBoard)
  })

  t.test('a signal aborts on cancel, disconnect and timeout', async (t) => {
    const server = await start(t, pool())
    const [wire, other] = [await server.connect(), await server.connect()]
    const aborted = async (): Promise<unknown> => {
      const value = await until(() => server.ds.primitives.state.getState('aborted'))
      await server.ds.primitives.state.deleteState('aborted')
      return value
    }
    await Promise.all([wire.call('w.echo'), other.call('w.echo')])
    t.match(await wire.call('signal', 'TIMEOUT'), { error: { code: -32001 } })
    t.equal(await aborted(), 'TIMEOUT')
    wire.send(RPC_REQ, 5, { method: 'slow signal', correlationId: 5 })
    await wire.call('w.echo')
    wire.send(RPC_CANCEL, 5, null)
    t.match(await wire.nextOf(RPC_RES), { id: 5, payload: { error: { code: -32002 } } })
    t.equal(await aborted(), 'CANCELLED')
    other.send(RPC_REQ, 6, { method: 'slow signal', correlationId: 6 })
    await other.call('w.echo')
    other.socket.terminate()
    t.equal(await aborted(), 'CANCELLED')
    await until(() => counts(server).queued === 0)
    const controller = new AbortController()
    const local = server.ds.rpc.call('slow signal', null, { signal: controller.signal })
    controller.abort()
    await t.rejects(local, { code: -32002 }, 'it had not begun')
  })

  t.test('what has not begun when it is cancelled never begins', async (t) => {
    const server = await start(t, pool({ poolSize: 1 }))
    const wire = await server.connect()
    await wire.call('w.echo')
    const { blocking, release } = block(t, wire)
    wire.send(RPC_REQ, 5, { method: 'count', correlationId: 5 })
    wire.send(RPC_CANCEL, 5, null)
    t.match(await wire.nextOf(RPC_RES), { id: 5, payload: { error: { code: -32002 } } })
    release()
    await blocking
    t.equal((await wire.call('count')).result, 1)
  })

  t.test('queues are bounded, per connection and per thread', async (t) => {
    const server = await start(t, pool({ poolSize: 1, maxQueuePerConnection: 3, maxQueue: 5 }))
    const [a, b] = [await server.connect(), await server.connect()]
    await a.call('w.echo')
    const { blocking, release } = block(t, a)
    const busy = (answers: Array<{ error?: unknown }>): number => answers.filter(({ error }) => error !== undefined).length
    const ofA = Array.from({ length: 5 }, () => a.call('w.echo', 1))
    await a.ping()
    const ofB = Array.from({ length: 3 }, () => b.call('w.echo', 1))
    a.send(EVENT_C2S, 3, { event: 'note' })
    t.match(await a.nextOf(ERROR), { id: 3, payload: { code: 'BUSY', retryAfter: 100 } })
    await b.ping()
    release()
    await blocking
    t.equal(busy(await Promise.all(ofA)), 3, 'two of five, beside the one that runs')
    t.equal(busy(await Promise.all(ofB)), 1, 'two of three: then the thread has five')
    t.equal((await a.call('w.echo', 2)).result, 2)
  })
}
