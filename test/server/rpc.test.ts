import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import t from 'tap'
import { RpcError } from '../../plugins/server.js'
import type { ConnectionContext, RpcContext } from '../../plugins/server.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { Gate } from '../helpers/backends.js'
import { entrances } from '../helpers/entrances.js'
import { watchWarnings } from '../helpers/warnings.js'

const { RPC_REQ, RPC_RES, RPC_CANCEL, EVENT_S2C } = Opcode

/** What a handler saw of its signal. */
function watch (ctx: RpcContext): Promise<unknown> {
  return new Promise((resolve) => { ctx.signal.addEventListener('abort', () => { resolve(ctx.signal.reason) }) })
}

for (const [entrance, start] of entrances) {
  t.test(`rpc, ${entrance}`, async (t) => {
    t.test('a call is answered under its id, by what its handler returns or resolves to', async (t) => {
      const { ds, connect } = await start(t)
      ds.rpc.register('sum', (params) => (params as number[]).reduce((a, b) => a + b, 0))
      ds.rpc.register('later', async (params) => { await null; return params })
      ds.rpc.register('nothing', () => {})
      ds.rpc.register('thenable', () => ({ then (resolve: (value: unknown) => void) { resolve('from a thenable') } }))
      const wire = await connect()
      t.strictSame(await wire.call('sum', [1, 2]), { correlationId: Number(wire.id()) - 1, result: 3 })
      t.equal((await wire.call('later', 'x')).result, 'x')
      t.equal((await wire.call('nothing')).result, null, 'undefined becomes null, so that there is a result')
      t.equal((await wire.call('thenable')).result, 'from a thenable')
      wire.send(RPC_REQ, 0, { method: 'sum', params: [4], correlationId: 0 })
      t.match(await wire.nextOf(RPC_RES), { id: 0, payload: { correlationId: 0, result: 4 } }, 'id 0 is as good as any')
      wire.send(RPC_REQ, 0xffffffff, { method: 'sum', params: [5], correlationId: 0xffffffff })
      t.match(await wire.nextOf(RPC_RES), { id: 0xffffffff, payload: { result: 5 } })
    })

    t.test('answers go out as calls complete', async (t) => {
      const { ds, connect } = await start(t)
      const gate = new Gate()
      ds.rpc.register('slow', async () => { await gate.pass(); return 'slow' })
      const wire = await connect()
      const slow = wire.call('slow')
      t.equal((await wire.call('echo', 'quick')).result, 'quick')
      gate.open()
      t.equal((await slow).result, 'slow')
    })

    t.test('answers of one turn leave in order, among events, whatever their size and characters', async (t) => {
      const { ds, connect } = await start(t)
      const gate = new Gate()
      ds.rpc.register('later', async (params, ctx) => {
        await gate.pass()
        if (params === 'event') ds.primitives.fanout.broadcast('told', 1, { to: { connection: ctx.connectionId } })
        if (params === 'error') throw new RpcError(7, 'ü')
        return params
      })
      const wire = await connect()
      const order: string[] = []
      wire.socket.on('message', () => {
        const { opcode, payload } = wire.received.at(-1)!
        if (opcode === RPC_RES) order.push(payload.result ?? 'error')
      })
      const texts = ['', 'a', 'x'.repeat(70), 'event', 'ü', '€', '\u{1f600}', '\ufffd', 'error', 'y'.repeat(900), 'ü'.repeat(600), 'event', 'z'.repeat(3000), '\ud800', 'x'.repeat(70_000), 'b', 'x'.repeat(1000), 'end']
      const answers = texts.map((text) => wire.call('later', text))
      await wire.ping()
      const { bytesOut, messagesOut } = ds.metrics.snapshot()
      const { _socket: socket } = wire.socket as unknown as { _socket: Socket }
      const before = socket.bytesRead
      gate.open()
      for (const [i, { result, error }] of (await Promise.all(answers)).entries()) t.strictSame(texts[i] === 'error' ? error : result, texts[i] === 'error' ? { code: 7, message: 'ü' } : texts[i])
      t.strictSame(order, texts)
      for (let i = 0; i < 2; i++) t.match(await wire.nextOf(EVENT_S2C), { payload: { event: 'told' } })
      const after = ds.metrics.snapshot()
      t.equal(after.messagesOut - messagesOut, texts.length + 2)
      t.equal(after.bytesOut - bytesOut, socket.bytesRead - before, 'bytes are counted as they leave')
    })

    t.test('whatever is thrown is answered, without its stack', async (t) => {
      const { ds, connect, logs } = await start(t)
      const cycle: { self?: unknown } = {}
      cycle.self = cycle
      const thrown: Array<[unknown, object]> = [
        [new Error('plain'), { code: -32000, message: 'plain' }],
        [Object.assign(new Error('coded'), { code: 4711, data: { why: 1 } }), { code: 4711, message: 'coded', data: { why: 1 } }],
        [Object.assign(new Error('named'), { code: 'ENOENT' }), { code: -32603, message: 'internal error' }],
        [new RpcError(7, 'own', [1]), { code: 7, message: 'own', data: [1] }],
        ['text', { code: -32603 }],
        [undefined, { code: -32603 }],
        [null, { code: -32603 }],
        [Symbol('s'), { code: -32603 }],
        [{ code: 5, message: 'no Error', data: 2 }, { code: 5, message: 'no Error', data: 2 }],
        [Object.create(null), { code: -32603 }],
        [Object.assign(new Error(''), { message: 10n }), { code: -32000 }],
        [{ toString () { throw new Error('even that') } }, { code: -32603 }],
        [{ get code () { throw new Error('even that') }, get message () { throw new Error('even that') } }, { code: -32603 }],
        [Object.assign(new Error('circular'), { data: cycle }), { code: -32000, message: 'circular' }],
        [Object.assign(new Error('big'), { data: 10n }), { code: -32000, message: 'big' }]
      ]
      const wire = await connect()
      for (const [i, [what, expected]] of thrown.entries()) {
        ds.rpc.register(`throws ${i}`, () => { throw what })
        ds.rpc.register(`rejects ${i}`, async () => { await null; throw what })
        for (const way of ['throws', 'rejects']) {
          const { error } = await wire.call(`${way} ${i}`)
          t.match(error, expected, `${way} ${i}`)
          t.type(error.message, 'string')
          t.notMatch(JSON.stringify(error), /rpc\.test/, 'no stack')
        }
      }
      t.match(logs.join(''), /cannot be written as JSON/)
      t.equal((await wire.call('echo', 1)).result, 1)
    })

    t.test('a result that JSON cannot hold is -32603, and logged', async (t) => {
      const { ds, connect, logs } = await start(t)
      const cycle: { self?: unknown } = {}
      cycle.self = cycle
      const results = [1n, () => {}, Symbol('s'), cycle, { toJSON () { throw new Error('no') } }]
      const wire = await connect()
      for (const [i, result] of results.entries()) {
        ds.rpc.register(`bad ${i}`, () => result)
        t.match((await wire.call(`bad ${i}`)).error, { code: -32603, data: { code: 'INTERNAL' } })
      }
      t.match(logs.join(''), /cannot be sent: JSON cannot hold a bigint/)
    })

    t.test('thenables that misbehave are answered, and take no place for ever', async (t) => {
      const { ds, connect } = await start(t, { maxCallsInFlight: 2, rateLimit: false })
      const odd: Record<string, object> = {
        getter: { get then () { throw new Error('no then') } },
        throwing: { then () { throw new Error('then throws') } },
        both: { then (resolve: (value: unknown) => void, reject: (reason: unknown) => void) { resolve(1); reject(new Error('too late')); resolve(2) } },
        late: { then (resolve: (value: unknown) => void) { resolve(1); throw new Error('too late') } }
      }
      for (const [name, thenable] of Object.entries(odd)) ds.rpc.register(name, () => thenable)
      const wire = await connect()
      for (let i = 0; i < 5; i++) {
        t.match((await wire.call('getter')).error, { message: 'no then' })
        t.match((await wire.call('throwing')).error, { message: 'then throws' })
        t.equal((await wire.call('both')).result, 1)
        t.equal((await wire.call('late')).result, 1)
      }
    })

    t.test('unknown methods, those of Object included', async (t) => {
      const { connect } = await start(t)
      const wire = await connect()
      for (const name of ['nope', '__proto__', 'constructor', 'toString', '', 'x'.repeat(10_000)]) {
        const { error } = await wire.call(name)
        t.match(error, { code: -32601, data: { code: 'METHOD_NOT_FOUND' } })
        t.ok(error.message.length < 200)
      }
    })

    t.test('header and payload must agree on the id', async (t) => {
      const { connect } = await start(t)
      const wire = await connect()
      wire.send(RPC_REQ, 5, { method: 'echo', correlationId: 6 })
      t.match(await wire.nextOf(Opcode.ERROR), { id: 5, payload: { code: 'BAD_FRAME' } })
    })

    t.test('a timeout answers, and tells the handler', async (t) => {
      const { ds, connect } = await start(t, { rpcTimeoutMs: 20 })
      let reason: unknown
      const gate = new Gate()
      ds.rpc.register('slow', async (_params, ctx) => { reason = await watch(ctx); return 'too late' })
      ds.rpc.register('own', { timeoutMs: 10 }, async () => { await new Promise(() => {}) })
      ds.rpc.register('patient', { timeoutMs: 0 }, async () => { await gate.pass(); return 'done' })
      const wire = await connect()
      const patient = wire.call('patient')
      t.match((await wire.call('slow')).error, { code: -32001, message: /slow.*20 ms/, data: { code: 'TIMEOUT' } })
      t.match(reason, { code: -32001 })
      t.match((await wire.call('own')).error, { code: -32001, message: /10 ms/ })
      gate.open()
      t.equal((await patient).result, 'done')
      await wire.ping()
      t.strictSame(wire.received.filter(({ opcode }) => opcode === RPC_RES), [], 'one answer each')
    })

    t.test('a timeout covers asynchronous hooks, and then the handler does not run', async (t) => {
      const { ds, connect } = await start(t, { rpcTimeoutMs: 20 })
      const gate = new Gate()
      let ran = false
      ds.addHook('preRpc', async (_ctx, { method }) => { if (method === 'guarded') await gate.pass() })
      ds.rpc.register('guarded', () => { ran = true })
      const wire = await connect()
      t.match((await wire.call('guarded')).error, { code: -32001 })
      gate.open()
      await wire.ping()
      t.notOk(ran)
    })

    t.test('RPC_CANCEL answers -32002 at once, and tells the handler', async (t) => {
      const { ds, connect } = await start(t)
      const seen: unknown[] = []
      const started = new Gate()
      ds.rpc.register('slow', async (_params, ctx) => {
        void started.pass()
        seen.push(await watch(ctx))
      })
      const wire = await connect()
      const id = wire.id()
      wire.send(RPC_REQ, id, { method: 'slow', correlationId: id })
      await started.arrival()
      wire.send(RPC_CANCEL, 999, null)
      wire.send(RPC_CANCEL, id, null)
      wire.send(RPC_CANCEL, id, null)
      t.match((await wire.nextOf(RPC_RES)), { id, payload: { error: { code: -32002, data: { code: 'CANCELLED' } } } })
      await wire.ping()
      t.match(seen, [{ code: -32002 }])
      t.strictSame(wire.received.filter(({ opcode }) => opcode === RPC_RES), [])
    })

    t.test('a disconnect tells the handlers', async (t) => {
      const { ds, connect } = await start(t)
      const gone = new Promise<unknown[]>((resolve) => {
        const seen: unknown[] = []
        ds.rpc.register('slow', async (_params, ctx) => { seen.push(await watch(ctx)); if (seen.length === 2) resolve(seen) })
      })
      const wire = await connect()
      void wire.call('slow').catch(() => {}) // the connection ends, as it should
      void wire.call('slow').catch(() => {})
      await wire.ping()
      await wire.close()
      t.match(await gone, [{ message: /disconnected/ }, { message: /disconnected/ }])
      t.equal(ds.metrics.snapshot().rpcErrors, 0, 'nobody was answered')
    })

    t.test('over maxCallsInFlight: BUSY; a call that was answered early still counts until its handler ends', async (t) => {
      const { ds, connect } = await start(t, { maxCallsInFlight: 2 })
      const gate = new Gate()
      ds.rpc.register('slow', async () => { await gate.pass(); return 'done' })
      const wire = await connect()
      const id = wire.id()
      wire.send(RPC_REQ, id, { method: 'slow', correlationId: id })
      const second = wire.call('slow')
      t.match((await wire.call('slow')).error, { code: -32030, data: { code: 'BUSY', retryAfter: Number } })
      wire.send(RPC_CANCEL, id, null)
      await wire.waitFor((frame) => frame.id === id)
      t.match((await wire.call('echo', 1)).error, { code: -32030 }, 'its handler still runs')
      const other = await connect()
      t.equal((await other.call('echo', 1)).result, 1, 'another connection is not concerned')
      gate.open()
      t.equal((await second).result, 'done')
      t.equal((await wire.call('echo', 1)).result, 1)
    })

    t.test('a handler knows whom it works for', async (t) => {
      const { ds, connect } = await start(t, {
        authHandler: () => ({ authenticated: true, userId: 'ann', roles: ['admin'], metadata: { name: 'Ann' } })
      })
      let seen: RpcContext | undefined
      ds.rpc.register('who', (_params, ctx) => {
        seen = ctx
        ctx.connection.set('n', (ctx.connection.get<number>('n') ?? 0) + 1)
        ctx.log.info('here')
        return [ctx.auth?.userId, ctx.connection.userId, ctx.connection.roles, ctx.connection.metadata, ctx.connectionId === ctx.connection.connectionId, ctx.connection.get('n'), ctx.signal.aborted]
      })
      const wire = await connect()
      const welcome = await wire.nextOf(Opcode.WELCOME)
      await wire.call('who')
      t.strictSame((await wire.call('who')).result, ['ann', 'ann', ['admin'], { name: 'Ann' }, true, 2, false])
      t.equal(seen!.connectionId, welcome.payload.connectionId)
    })

    t.test('a name is registered once, and properly', async (t) => {
      const { ds } = await start(t)
      t.throws(() => ds.rpc.register('echo', () => 1), { code: 'DUPLICATE_METHOD', message: /echo/ })
      t.throws(() => ds.rpc.register('', () => 1), { code: 'INVALID_METHOD' })
      t.throws(() => ds.rpc.register('x', undefined as never), { code: 'INVALID_METHOD' })
      const options: Array<[unknown, RegExp]> = [
        [null, /options/], [undefined, /options/], ['x', /options/], [[], /options/], [{ timeout: 5 }, /option timeout /], [{ schema: 'x' }, /option schema /],
        [{ schema: null }, /option schema /], [{ schema: { body: {} } }, /option schema\.body /], [{ schema: { params: 'x' } }, /option schema\.params /], [{ schema: { result: null } }, /option schema\.result /]
      ]
      for (const [wrong, message] of options) {
        t.throws(() => { ds.rpc.register('x', wrong as never, () => 1) }, { name: 'DatasoleError', code: 'INVALID_OPTION', message }, JSON.stringify(wrong))
        t.throws(() => { ds.rpc.register('x', wrong as never, () => 1) }, { message: /rpc\.register\("x"\)/ })
      }
      t.throws(() => ds.rpc.register('x', { timeoutMs: -1 }, () => 1), { code: 'INVALID_OPTION', message: /timeoutMs/ })
      ds.rpc.register('x', () => 1)
    })

    t.test('ds.rpc.call runs a method in this process', async (t) => {
      const { ds } = await start(t, { maxCallsInFlight: 1, rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 1 } }, rpcTimeoutMs: 5 })
      const hooked: unknown[] = []
      ds.addHook('preRpc', (ctx, { method, params }) => {
        hooked.push([method, params, ctx.auth?.userId])
        if (params === 'refuse') throw new Error('not you')
        if (params === 'refuse with a code') throw Object.assign(new Error('not you'), { code: 403 })
      })
      ds.rpc.register('who', async (params, ctx) => {
        await new Promise((resolve) => { setTimeout(resolve, 20) })
        return [params, ctx.auth?.userId ?? null, ctx.connection.userId ?? null]
      })
      ds.rpc.register('fails', () => { throw Object.assign(new Error('no'), { code: 9, data: 'd' }) })
      ds.rpc.register('waits', async (_params, ctx) => { const reason = await watch(ctx); return (reason as Error).message })
      t.strictSame(await Promise.all([ds.rpc.call('who', 1), ds.rpc.call('who', 2), ds.rpc.call('who', 3, { auth: { authenticated: true, userId: 'ann' } })]),
        [[1, null, null], [2, null, null], [3, 'ann', 'ann']], 'limits are for clients')
      t.strictSame(hooked.at(-1), ['who', 3, 'ann'])
      await t.rejects(ds.rpc.call('fails', null), { code: 9, message: 'no', data: 'd' })
      await t.rejects(ds.rpc.call('nope', null), { code: -32601 })
      await t.rejects(ds.rpc.call('who', 'refuse'), { code: -32003, message: 'not you', data: { code: 'FORBIDDEN' } })
      await t.rejects(ds.rpc.call('who', 'refuse with a code'), { code: 403 })
      const abort = new AbortController()
      const waiting = ds.rpc.call('waits', null, { signal: abort.signal })
      abort.abort()
      t.match(await waiting, /cancelled/)
    })

    t.test('one signal for many calls is no leak', async (t) => {
      const { ds, connect } = await start(t)
      const warnings = watchWarnings(t)
      ds.rpc.register('waits', async (_params, ctx) => { await watch(ctx) })
      ds.rpc.register('many', async (_params, ctx) => {
        const seen = Array.from({ length: 12 }, () => watch(ctx))
        return await Promise.all(seen).then((reasons) => reasons.length)
      })
      const abort = new AbortController()
      const calls = Array.from({ length: 12 }, () => ds.rpc.call('waits', null, { signal: abort.signal }))
      const wire = await connect()
      const answer = wire.call('many')
      await wire.ping()
      abort.abort()
      await Promise.all(calls)
      wire.send(RPC_CANCEL, wire.id() - 2, null)
      await answer
      await setImmediate() // warnings are told a tick later
      t.strictSame(warnings, [])
    })

    t.test('a call on behalf of a connection has that connection', async (t) => {
      const { ds, connect } = await start(t)
      const seen: ConnectionContext[] = []
      ds.rpc.register('inner', (_params, ctx) => { seen.push(ctx.connection) })
      ds.rpc.register('outer', async (_params, ctx) => { seen.push(ctx.connection); await ds.rpc.call('inner', null, ctx) })
      await (await connect()).call('outer')
      t.equal(seen[0], seen[1])
    })
  })
}
