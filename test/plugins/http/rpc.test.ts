import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { number, object, string } from 'zod'
import t from 'tap'
import { defineContract } from '../../../lib/contract/exports.js'
import { RpcCode } from '../../../lib/protocol/codes.js'
import { RpcError } from '../../../lib/protocol/errors.js'
import { STATUS_OF_RPC } from '../../../lib/server/http/http-refusal.js'
import { until } from '../../helpers/until.js'
import { type Answer, ask, httpEntrances, startFastify } from './start.js'

const call = (api: string, method: string, json?: unknown, headers: Record<string, string> = {}): Promise<Answer> => ask(`${api}/rpc/${encodeURIComponent(method)}`, { method: 'POST', json, headers })

for (const [entrance, start] of httpEntrances) {
  t.test(`rpc, ${entrance}: results and errors, as a client gets them`, async (t) => {
    const { api, ds, logs } = await start(t, {
      maxJsonDepth: 10,
      prepare: (ds) => {
        ds.rpc.register('echo', (params) => ({ params: params === undefined ? 'none' : params }))
        ds.rpc.register('nothing', () => undefined)
        ds.rpc.register('a/b c', (_params, { connection }) => connection.transport)
        ds.rpc.register('large', () => 'ä'.repeat(100_000))
        ds.rpc.register('fail', () => { throw new TypeError('a bug') })
        ds.rpc.register('throw', (code) => { throw new RpcError(code as number, 'thrown', { why: 'this' }) })
        ds.rpc.register('slow', { timeoutMs: 20 }, async (_params, { signal }) => { await new Promise((resolve) => { signal.addEventListener('abort', resolve) }) })
        ds.rpc.register('typed', { schema: { params: { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } } } }, (params) => (params as { n: number }).n)
        ds.addHook('preRpc', (_ctx, { method }) => { if (method === 'guarded') throw new Error('not for you') })
        ds.rpc.register('guarded', () => 1)
      }
    })
    t.match(await call(api, 'echo', { a: [1] }), { status: 200, body: { result: { params: { a: [1] } } } })
    t.match(await call(api, 'echo', null), { status: 200, body: { result: { params: null } } })
    t.match(await call(api, 'echo'), { status: 200, body: { result: { params: 'none' } } })
    t.strictSame((await call(api, 'nothing')).body, { result: null })
    t.strictSame((await call(api, 'a/b c')).body, { result: 'http' })
    t.strictSame((await call(api, 'large')).body, { result: 'ä'.repeat(100_000) })
    t.equal((await call(api, 'echo')).headers.get('cache-control'), 'no-store')

    t.strictSame(await failed(call(api, 'missing')), [404, { code: RpcCode.METHOD_NOT_FOUND, message: 'unknown method "missing"', data: { code: 'METHOD_NOT_FOUND' } }])
    t.match(await failed(call(api, 'fail')), [500, { code: RpcCode.INTERNAL, message: 'internal error', data: { id: String } }])
    t.match(await failed(call(api, 'slow')), [504, { code: RpcCode.TIMEOUT, data: { code: 'TIMEOUT' } }])
    t.match(await failed(call(api, 'typed', { n: 'one' })), [422, { code: RpcCode.INVALID_PARAMS, data: { code: 'INVALID_PARAMS' } }])
    t.match(await failed(call(api, 'guarded')), [403, { code: RpcCode.FORBIDDEN, message: 'not for you' }])
    for (const [code, status] of Object.entries({ ...STATUS_OF_RPC, 42: 422, 0: 422 })) t.match(await failed(call(api, 'throw', Number(code))), [status, { code: Number(code), message: 'thrown', data: { why: 'this' } }], code)

    const deep = JSON.parse('['.repeat(11) + ']'.repeat(11)) as unknown
    t.match(await call(api, 'echo', deep), { status: 400, body: { statusCode: 400, code: 'BAD_FRAME', error: /deeper than 10/ } })
    t.match(await call(api, 'echo', JSON.parse('['.repeat(9) + ']'.repeat(9))), { status: 200 })
    const raw = (body: string | Buffer, type = 'application/json'): Promise<Answer> => ask(`${api}/rpc/echo`, { method: 'POST', body: body as string, headers: { 'content-type': type } })
    for (const body of ['{', '1},"method":"guarded"', 'undefined', '{"a":1}{', Buffer.from([0x22, 0xff, 0x22])]) t.match(await raw(body), { status: 400, body: { code: 'BAD_FRAME' } }, String(body))
    t.strictSame((await raw('{"__proto__":{"a":1}}')).body, JSON.parse('{"result":{"params":{"__proto__":{"a":1}}}}'))
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'application/json-patch+json']) t.match(await raw('{}', type), { status: 415, body: { code: 'UNSUPPORTED_MEDIA_TYPE' } }, type)
    t.equal((await raw('{}', 'Application/JSON; charset=utf-8')).status, 200)
    t.equal(ds.transport.getConnectionCount(), 0)
    t.equal(ds.metrics.snapshot().rpcCalls > 20, true)
    t.notMatch(logs.join(''), 'a request could not be handled')
  })

  t.test(`rpc, ${entrance}: methods in threads`, async (t) => {
    const workerScript = fileURLToPath(new URL('http-script.js', import.meta.url))
    const { api, ds } = await start(t, { executor: { model: 'thread-pool', workerScript, poolSize: 1 }, authHandler: async () => ({ authenticated: true, userId: 'ann' }) })
    t.match(await call(api, 'inThread', { a: 1 }), { status: 200, body: { result: { params: { a: 1 }, transport: 'http', userId: 'ann' } } })
    t.match(await failed(call(api, 'thrownInThread')), [422, { code: 7, message: 'seven', data: { a: 1 } }])
    t.match(await call(api, 'inThread', { a: 'x'.repeat(5000) }), { status: 200 })
    // fetch would open another connection after an abort, and an http server that closes waits for its first request
    const leaving = request(`${api}/rpc/waitInThread`, { method: 'POST', agent: false }).on('error', () => {}).end()
    await until(() => ds.transport.getConnectionCount() === 1)
    leaving.destroy()
    await until(() => ds.transport.getConnectionCount() === 0)
    t.match(await call(api, 'inThread', { a: 1 }), { status: 200 }, 'the thread is free again')
  })
}

t.test('rpc: errors and schemas of the contract', async (t) => {
  const contract = defineContract({ rpc: { buy: { params: object({ n: number() }), result: string(), errors: { SOLD_OUT: object({ left: number() }) } } } })
  const { api } = await startFastify(t, {
    contract,
    prepare: (ds) => { ds.rpc.register('buy', ({ n }: any, ctx: any) => { if (n > 2) throw ctx.error('SOLD_OUT', { left: 2 }); return n === 0 ? 0 : 'bought' }) }
  })
  t.match(await call(api, 'buy', { n: 1 }), { status: 200, body: { result: 'bought' } })
  t.match(await failed(call(api, 'buy', { n: 'x' })), [422, { code: RpcCode.INVALID_PARAMS, data: { issues: [{ path: '/n' }] } }])
  t.strictSame(await failed(call(api, 'buy', { n: 3 })), [422, { code: RpcCode.APPLICATION, message: 'SOLD_OUT', data: { code: 'SOLD_OUT', details: { left: 2 } } }])
  t.match(await failed(call(api, 'buy', { n: 0 })), [500, { code: RpcCode.INTERNAL }], 'the result is checked, too')
})

t.test('rpc: a request that is cut off aborts the handler, and a closing server waits for those under way', async (t) => {
  const aborted: unknown[] = []
  let goOn = (_value: string): void => {}
  const { api, ds, close } = await startFastify(t, {
    prepare: (ds) => {
      ds.rpc.register('wait', async (_params, { signal }) => await new Promise((resolve) => { signal.addEventListener('abort', () => { aborted.push((signal.reason as RpcError).code); resolve(0) }) }))
      ds.rpc.register('hold', async () => await new Promise<string>((resolve) => { goOn = resolve }))
    }
  })
  const leaving = new AbortController()
  const waiting = ask(`${api}/rpc/wait`, { method: 'POST', signal: leaving.signal })
  await until(() => ds.transport.getConnectionCount() === 1)
  leaving.abort()
  await t.rejects(waiting)
  await until(() => aborted.length === 1)
  t.strictSame(aborted, [RpcCode.CANCELLED])

  const held = call(api, 'hold')
  await until(() => ds.transport.getConnectionCount() === 1)
  const closing = close()
  const late = await call(api, 'hold').catch((error: unknown) => error) as Answer
  if (late.status !== undefined) t.equal(late.status, 503)
  goOn('done')
  t.match(await held, { status: 200, body: { result: 'done' } })
  await closing
})

t.test('rpc: a user who is disconnected loses what is under way', async (t) => {
  const { api, ds } = await startFastify(t, { authHandler: async () => ({ authenticated: true, userId: 'ann' }), prepare: (ds) => { ds.rpc.register('wait', async (_params, { signal }) => await new Promise((resolve) => { signal.addEventListener('abort', resolve) })) } })
  const waiting = call(api, 'wait')
  await until(() => ds.transport.getConnectionCount() === 1)
  ds.disconnectUser('ann')
  t.match(await waiting, { status: 401, body: { statusCode: 401, code: 'CLOSED', error: 'disconnected by the server' } })
  await until(() => ds.transport.getConnectionCount() === 0)
})

async function failed (answer: Promise<Answer>): Promise<[status: number, error: unknown]> {
  const { status, body } = await answer
  return [status, body.error]
}
