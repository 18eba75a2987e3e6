import { runInNewContext } from 'node:vm'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type * as ErrorsModule from '../../lib/protocol/errors.js'
import { DatasoleError, type ErrorContext, RpcError } from '../../plugins/server.js'
import { Gate } from '../helpers/backends.js'
import { type Running, entrances } from '../helpers/entrances.js'
import { refusal } from '../helpers/wire.js'

const { ERROR, EVENT_C2S, SUBSCRIBE, STATE_PUSH, STATE_ACK, CRDT_OP, CRDT_ACK } = Opcode
const SECRET = 'postgres://admin:secret@db'

class QueryError extends Error {}
class DriverError extends Error { code = 'ECONNREFUSED' }
class HttpError extends Error {
  constructor (message: string, readonly statusCode: number, readonly expose?: boolean) { super(message) }
}
const system = (): Promise<unknown> => import('node:fs/promises').then(({ readFile }) => readFile(`/nowhere/${SECRET}`))
const fail = (thrown: unknown): never => { throw thrown }
const bug = (): unknown => (undefined as unknown as { secret: number }).secret
const foreign = (code: string): unknown => runInNewContext(code)
/** As another copy of this package has it. */
const copyOf = (name: string, code: unknown, message: string): Error => Object.assign(new (class extends Error { override name = name })(message), { code })

type Errors = typeof ErrorsModule

/** Kept from clients, and logged. */
const hidden: Record<string, () => unknown> = {
  'a system error': system,
  'a bug': bug,
  'a driver\'s error': () => { throw new DriverError(SECRET) },
  'a class of errors': () => { throw new QueryError(SECRET) },
  'several errors': () => { throw new AggregateError([new Error(SECRET)], SECRET) },
  'an Error with a code': () => { throw Object.assign(new Error(SECRET), { code: 'ER_DUP' }) },
  'an AbortError': () => { throw new DOMException(SECRET, 'AbortError') },
  'a server\'s status': () => { throw new HttpError(SECRET, 502) },
  'expose: false': () => { throw new HttpError(SECRET, 404, false) },
  'a string': () => fail(SECRET),
  nothing: () => fail(undefined),
  'an object': () => fail({ message: SECRET }),
  'a TypeError of another realm': () => { throw foreign(`new TypeError('${SECRET}')`) },
  'our own error': () => { throw new DatasoleError('BACKEND_UNAVAILABLE', SECRET) }
}

/** Meant for clients: code, message. */
const shown: Record<string, [run: () => unknown, error: object]> = {
  'a plain Error': [() => { throw new Error('no entry') }, { code: -32000, message: 'no entry' }],
  'a plain Error with a cause': [() => { throw new Error('no entry', { cause: new Error(SECRET) }) }, { code: -32000, message: 'no entry' }],
  'a plain Error of another realm': [() => { throw foreign('new Error("no entry")') }, { code: -32000, message: 'no entry' }],
  'an RpcError': [() => { throw new RpcError(7, 'seven', { a: 1 }) }, { code: 7, message: 'seven', data: { a: 1 } }],
  'an RpcError of another copy': [() => { throw copyOf('RpcError', 8, 'eight') }, { code: 8, message: 'eight' }],
  'a numeric code': [() => { throw Object.assign(new QueryError('nine'), { code: 9, data: [1] }) }, { code: 9, message: 'nine', data: [1] }],
  'expose: true': [() => { throw new HttpError('shown', 500, true) }, { code: -32000, message: 'shown' }],
  'a client\'s status': [() => { throw new HttpError('not found', 404) }, { code: -32000, message: 'not found' }]
}

const lineOf = ({ logs }: Running, id: string): { level: number, err: { message?: string, stack?: string } } | undefined => logs.map((line) => JSON.parse(line)).find((line) => line.id === id)

for (const [entrance, start] of entrances) {
  t.test(`thrown, ${entrance}`, async (t) => {
    t.test('methods: what is not meant for clients is logged, and they get its id', async (t) => {
      const server = await start(t, { rateLimit: false })
      const { ds, connect, logs } = server
      const wire = await connect()
      for (const [name, run] of Object.entries(hidden)) {
        ds.rpc.register(name, () => run())
        ds.rpc.register(`later: ${name}`, async () => { await null; return await run() })
        for (const method of [name, `later: ${name}`]) {
          const { error } = await wire.call(method)
          t.strictSame(error, { code: -32603, message: 'internal error', data: { code: 'INTERNAL', id: error.data.id } }, method)
          t.match(lineOf(server, error.data.id), { level: 50, method, connectionId: String, err: {} }, method)
          t.not(lineOf(server, error.data.id)!.err, undefined)
        }
      }
      t.match(lineOf(server, (await wire.call('a bug')).error.data.id)!.err.stack, /thrown\.test/)
      logs.length = 0
      for (const [name, [run, error]] of Object.entries(shown)) {
        ds.rpc.register(name, () => run())
        t.strictSame((await wire.call(name)).error, error, name)
      }
      t.strictSame(logs.filter((line) => JSON.parse(line).level >= 50), [], 'what is told is not logged')
    })

    t.test('server code that calls a method gets what a client gets, with the original as its cause', async (t) => {
      const { ds, logs, connect } = await start(t)
      const original = new QueryError(SECRET)
      ds.rpc.register('inner', () => { throw original })
      ds.rpc.register('outer', () => ds.rpc.call('inner', null))
      await t.rejects(ds.rpc.call('inner', null), { name: 'RpcError', code: -32603, message: 'internal error', data: { code: 'INTERNAL', id: String }, cause: original })
      logs.length = 0
      const { error } = await (await connect()).call('outer')
      t.match(error, { code: -32603, message: 'internal error', data: { id: String } })
      const lines = logs.map((line) => JSON.parse(line)).filter(({ level }) => level === 50)
      t.match(lines, [{ id: error.data.id, method: 'inner' }], 'logged once, where it was thrown')
    })

    t.test('a handler that fails after its timeout is logged all the same, unless it only obeys', async (t) => {
      const { ds, connect, logs } = await start(t)
      const [late, obedient] = [new Gate(), new Gate()]
      ds.rpc.register('late', { timeoutMs: 10 }, async () => { await late.pass(); bug() })
      ds.rpc.register('obedient', { timeoutMs: 10 }, async (_, { signal }) => { await obedient.pass(); if (signal.aborted) throw new DOMException('aborted', 'AbortError') })
      const wire = await connect()
      for (const method of ['late', 'obedient']) t.match((await wire.call(method)).error, { code: -32001 })
      obedient.open()
      late.open()
      await wire.ping()
      t.match(logs.map((line) => JSON.parse(line)).filter(({ level }) => level === 50), [{ method: 'late', err: { type: 'TypeError' } }])
    })

    t.test('a hook refuses by what is thrown as a refusal; whatever else it throws may be tried again', async (t) => {
      let thrown: () => unknown = () => {}
      const server = await start(t, { rateLimit: false, authHandler: () => ({ authenticated: true, userId: 'ann' }) })
      const { ds, connect, url, logs } = server
      const { live, events, crdt } = ds.primitives
      live.createSyncChannel({ key: 'channel', direction: 'bidirectional', mode: 'snapshot', flush: { flushStrategy: 'immediate' } })
      crdt.register('counter', 'pn-counter')
      events.on('e', () => {})
      const wire = await connect()
      for (const hook of ['preRpc', 'preEvent', 'preSubscribe', 'prePush', 'onConnect'] as const) ds.addHook(hook, async () => { await null; await thrown() })
      let seq = 0
      const op = (): object => ({ key: 'counter', op: { type: 'pn-counter', nodeId: 'n', timestamp: Date.now(), op: 'increment', value: 1, seq: ++seq } })
      const push = (): object => ({ key: 'channel', data: 1, push: { client: 'c', seq: ++seq } })
      const frames: Array<[opcode: number, payload: () => object]> = [[EVENT_C2S, () => ({ event: 'e' })], [SUBSCRIBE, () => ({ key: 'k' })], [STATE_PUSH, push], [CRDT_OP, op]]

      const refusals: Array<[thrown: () => unknown, message: string]> = [
        [() => { throw new Error('members only') }, 'members only'],
        [() => { throw new DatasoleError('FORBIDDEN', 'members only') }, 'members only'],
        [() => { throw copyOf('DatasoleError', 'NOT_A_MEMBER', 'members only') }, 'members only'],
        [() => { throw new RpcError(4711, 'members only') }, 'members only'],
        [() => { throw new HttpError('members only', 401) }, 'members only'],
        [() => { throw new HttpError('members only', 403) }, 'members only'],
        [() => { throw new HttpError(SECRET, 403, false) }, 'forbidden'],
        [() => { throw Object.assign(new Error('members only'), { code: 402 }) }, 'members only'],
        [() => { throw foreign('new Error("members only")') }, 'members only']
      ]
      for (const [index, [run, message]] of refusals.entries()) {
        thrown = run
        for (const [opcode, payload] of frames) t.match(await wire.ask(opcode, payload()), { opcode: ERROR, payload: { code: 'FORBIDDEN', message, retryAfter: undefined } })
        t.match((await wire.call('echo')).error, { code: /^(-32003|402|4711)$/, message })
        logs.length = 0
        t.equal((await refusal(url)).status, 403)
        t.equal(logs.some((line) => JSON.parse(line).level === 40 && /onConnect/.test(line)), index === 0, 'logged at warn, further ones by their number')
      }

      const failures: Array<() => unknown> = [
        ...Object.values(hidden),
        () => { throw new RpcError(-32603, SECRET) }, // of a method that the hook has called
        () => { throw copyOf('DatasoleError', 'BUSY', SECRET) },
        () => { throw Object.assign(new QueryError(SECRET), { code: 11000 }) } // a driver's number
      ]
      for (const run of failures.slice(0, Object.keys(hidden).length)) {
        thrown = run
        for (const [opcode, payload] of frames) {
          const answer = await wire.ask(opcode, payload())
          t.match(answer, { opcode: ERROR, payload: { code: 'INTERNAL', message: 'internal error', retryAfter: Number, id: String } })
          t.match(lineOf(server, answer.payload.id), { level: 50, connectionId: String, msg: /hook pre/ })
        }
        const { error } = await wire.call('echo')
        t.match(error, { code: -32603, message: 'internal error', data: { code: 'INTERNAL', id: String, retryAfter: Number } })
        t.match(lineOf(server, error.data.id), { level: 50, method: 'echo', msg: /hook preRpc/ })
        const { status, body } = await refusal(url)
        t.equal(status, 503)
        t.notMatch(body, /secret/)
      }
      for (const run of failures.slice(Object.keys(hidden).length)) {
        thrown = run
        t.match(await wire.ask(SUBSCRIBE, { key: 'k' }), { opcode: ERROR, payload: { code: 'INTERNAL', retryAfter: Number } })
      }

      thrown = () => {}
      t.match(await wire.ask(STATE_PUSH, push()), { opcode: STATE_ACK })
      t.match(await wire.ask(CRDT_OP, op()), { opcode: CRDT_ACK })
      t.not((await wire.ask(SUBSCRIBE, { key: 'k' })).opcode, ERROR, 'what could not be decided is decided when it is asked again')
      t.not((await connect()).socket.readyState, 3)
    })

    t.test('validate: a bug in it is no message for clients, and does not let the value in', async (t) => {
      const server = await start(t)
      let fail: () => unknown = () => {}
      server.ds.primitives.live.createSyncChannel({ key: 'channel', direction: 'client-to-server', mode: 'snapshot', flush: { flushStrategy: 'immediate' }, validate: () => { fail() } })
      const wire = await server.connect()
      let seq = 0
      const push = async (): Promise<{ payload: { code: string, message: string } }> => await wire.ask(STATE_PUSH, { key: 'channel', data: 1, push: { client: 'c', seq: ++seq } })
      fail = () => { throw new Error('too short') }
      t.match((await push()).payload, { code: 'INVALID_VALUE', message: 'too short' })
      fail = () => { throw new QueryError(SECRET) }
      const { payload: { code, message } } = await push()
      t.equal(code, 'INVALID_VALUE')
      t.notMatch(message, /secret/)
      t.match(lineOf(server, /\((.*)\)/.exec(message)![1]!), { level: 50, key: 'channel', err: { message: SECRET } })
    })

    t.test('errorHandler decides otherwise, and cannot do harm', async (t) => {
      const seen: Array<[error: unknown, ctx: ErrorContext]> = []
      let decide: (error: unknown, ctx: ErrorContext) => unknown = () => undefined
      const server = await start(t, { rateLimit: false, errorHandler: (error, ctx) => { seen.push([error, ctx]); return decide(error, ctx) as Error } })
      const { ds, connect, logs, url } = server
      const wire = await connect()
      let thrown: unknown = new QueryError(SECRET)
      ds.rpc.register('fails', async () => { throw thrown })
      const call = async (): Promise<{ code: number, message: string, data?: { id?: string } }> => (await wire.call('fails')).error
      const plain = await call()
      t.equal(seen[0]![0], thrown)
      t.match(seen[0]![1], { source: 'rpc', method: 'fails', id: plain.data!.id, connection: { connectionId: String } })
      logs.length = 0
      decide = (error) => error instanceof QueryError ? new RpcError(-32602, 'bad query', { code: 'INVALID_PARAMS' }) : undefined
      t.strictSame(await call(), { code: -32602, message: 'bad query', data: { code: 'INVALID_PARAMS' } })
      t.strictSame(logs.filter((line) => JSON.parse(line).level === 50), [], 'it is the handler\'s to log')
      thrown = new Error('shown by default')
      decide = () => new TypeError('not shown')
      t.match(await call(), { code: -32603, message: 'internal error' })

      for (const wrong of [() => { throw new Error('in the handler') }, async () => { throw new Error('asynchronous') }, () => 'text', () => null, () => 5]) {
        decide = wrong
        logs.length = 0
        t.match(await call(), { code: -32000, message: 'shown by default' }, 'then the rule holds')
        t.ok(logs.some((line) => line.includes('the errorHandler failed') && JSON.parse(line).level === 50))
      }

      decide = () => new Error('closed today')
      thrown = new QueryError(SECRET)
      ds.addHook('preSubscribe', () => { throw thrown })
      ds.addHook('onConnect', () => { throw thrown })
      t.match((await wire.ask(SUBSCRIBE, { key: 'k' })).payload, { code: 'FORBIDDEN', message: 'closed today' })
      t.match(seen.at(-1)![1], { source: 'preSubscribe', key: 'k' })
      t.equal((await refusal(url)).status, 403)
      t.match(seen.at(-1)![1], { source: 'onConnect' })
    })

    t.test('an error that cannot even be looked at is answered', async (t) => {
      const { ds, connect } = await start(t)
      const revoked = Proxy.revocable({}, {})
      revoked.revoke()
      const thrown: unknown[] = [revoked.proxy, new Proxy(new Error(SECRET), { get () { throw new Error('no') }, getPrototypeOf () { throw new Error('no') } }), Object.defineProperty(new QueryError(SECRET), 'extra', { enumerable: true, get () { throw new Error('no') } })]
      ds.rpc.register('throws', (i) => { throw thrown[i as number] })
      const wire = await connect()
      for (let i = 0; i < thrown.length; i++) t.match((await wire.call('throws', i)).error, { code: -32603, message: 'internal error' })
      t.equal((await wire.call('echo', 1)).result, 1)
    })
  })
}

t.test('thrown: another copy of this package is told by its shape', async (t) => {
  const [[, start]] = entrances as [[string, typeof entrances[number][1]]]
  const { ds, connect } = await start(t)
  const copy = await import(`${import.meta.resolve('../../lib/protocol/errors.js')}?copy`) as Errors
  t.not(copy.RpcError, RpcError)
  ds.rpc.register('throws', () => { throw new copy.RpcError(5, 'of a copy', 1) })
  ds.addHook('preSubscribe', () => { throw new copy.DatasoleError('NO', 'of a copy') })
  const wire = await connect()
  t.strictSame((await wire.call('throws')).error, { code: 5, message: 'of a copy', data: 1 })
  t.match((await wire.ask(SUBSCRIBE, { key: 'k' })).payload, { code: 'FORBIDDEN', message: 'of a copy' })
})
