import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { type Wire, connect as connectTo } from '../helpers/wire.js'

const INTEGER = { type: 'object', properties: { n: { type: 'integer' } }, required: ['n'] }

async function listening (t: { teardown (fn: () => unknown): void }, app: FastifyInstance): Promise<Wire> {
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return await connectTo(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`)
}

function quiet (): FastifyInstance {
  return Fastify({ loggerInstance: capturedLogger([]) as never }) as never
}

for (const [entrance, start] of entrances) {
  t.test(`schema, ${entrance}`, async (t) => {
    const { ds, connect, logs } = await start(t, {
      prepare: (ds) => { ds.rpc.register('early', { schema: { params: INTEGER } }, (params) => (params as { n: number }).n) }
    })
    ds.rpc.register('late', { schema: { params: INTEGER, result: { type: 'string' } } }, (params) => (params as { n: number, as?: unknown }).as ?? 'text')
    const wire = await connect()

    t.test('what does not match is -32602, with the errors', async (t) => {
      t.equal((await wire.call('early', { n: 1 })).result, 1)
      for (const params of [undefined, null, {}, { n: '1' }, { n: 1.5 }, [1]]) {
        const { error } = await wire.call('early', params)
        t.match(error, { code: -32602, message: /early/, data: { code: 'INVALID_PARAMS' } })
        t.ok(error.data.errors.length > 0)
        t.type(error.data.errors[0].message, 'string')
      }
      await t.rejects(ds.rpc.call('early', { n: 'x' }), { code: -32602, data: { code: 'INVALID_PARAMS' } }, 'in process too')
    })

    t.test('nothing is coerced, filled in or removed', async (t) => {
      ds.rpc.register('as it is', {
        schema: { params: { type: 'object', properties: { a: { type: 'number', default: 5 }, list: { type: 'array' } }, additionalProperties: true } }
      }, (params) => params)
      t.strictSame((await wire.call('as it is', { extra: 1 })).result, { extra: 1 })
      t.match((await wire.call('as it is', { a: '5' })).error, { code: -32602 })
      t.match((await wire.call('as it is', { list: 1 })).error, { code: -32602 })
    })

    t.test('a result that does not match is the server\'s fault', async (t) => {
      t.equal((await wire.call('late', { n: 1 })).result, 'text')
      t.match((await wire.call('late', { n: 1, as: 5 })).error, { code: -32603, data: { code: 'INTERNAL' } })
      t.match(logs.join(''), /does not match its schema/)
    })

    t.test('hooks come first', async (t) => {
      ds.addHook('preRpc', (_ctx, { method }) => { if (method === 'early') throw new Error('no') })
      t.match((await wire.call('early', 'nonsense')).error, { code: -32003 })
    })
  })

  t.test(`${entrance}: a broken schema fails the start`, async (t) => {
    await t.rejects(start(t, { prepare: (ds) => { ds.rpc.register('m', { schema: { params: { type: 'nonsense' } } }, () => 1) } }), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /rpc\.register\("m"\): option schema\.params cannot be compiled: ./, cause: Error })
    await t.rejects(start(t, { prepare: (ds) => { ds.primitives.live.createSyncChannel({ key: 'k', direction: 'bidirectional', mode: 'snapshot', schema: { type: 'nonsense' } }) } }), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /createSyncChannel\("k"\): option schema cannot be compiled: ./, cause: Error })
  })
}

t.test('a broken schema of a method that is called before the start is the server\'s fault', async (t) => {
  const ds = new DatasoleServer({ logger: capturedLogger([]) })
  ds.rpc.register('m', { schema: { params: { type: 'nonsense' } } }, () => 1)
  await t.rejects(ds.rpc.call('m', 1), { code: -32603, data: { code: 'INTERNAL' } })
})

t.test('a broken schema that comes late is refused at once', async (t) => {
  const [[, start]] = entrances as [[string, typeof entrances[number][1]]]
  const { ds, connect } = await start(t)
  const broken = { type: 'nonsense' }
  t.throws(() => { ds.rpc.register('broken', { schema: { result: broken } }, () => 1) }, { name: 'DatasoleError', code: 'INVALID_OPTION', message: /"broken".*schema\.result/ })
  t.throws(() => ds.primitives.live.createSyncChannel({ key: 'k', direction: 'bidirectional', mode: 'snapshot', schema: broken }), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /"k".*schema/ })
  const wire = await connect()
  t.match(await wire.call('broken'), { error: { code: -32601 } })
  t.equal((await wire.call('echo', 1)).result, 1)
})

t.test('shared schemas of the instance', async (t) => {
  const app = quiet()
  app.addSchema({ $id: 'point', ...INTEGER })
  await app.register(datasole)
  app.ds.rpc.register('m', { schema: { params: { $ref: 'point#' } } }, () => 'ok')
  await app.register(async (child) => {
    child.addSchema({ $id: 'inner', type: 'string' })
    child.ds.rpc.register('inner', { schema: { params: { $ref: 'inner#' } } }, () => 'ok')
  })
  const wire = await listening(t, app)
  t.equal((await wire.call('m', { n: 1 })).result, 'ok')
  t.match((await wire.call('m', { n: 'x' })).error, { code: -32602 })
  t.equal((await wire.call('inner', 'text')).result, 'ok')
  t.match((await wire.call('inner', 1)).error, { code: -32602 })
})

t.test('routes of the application with schemas do not make ours coerce', async (t) => {
  const app = quiet()
  await app.register(datasole)
  app.post('/route', { schema: { body: INTEGER } }, (request) => request.body)
  app.ds.rpc.register('m', { schema: { params: INTEGER } }, (params) => params)
  const wire = await listening(t, app)
  t.strictSame((await app.inject({ method: 'POST', url: '/route', payload: { n: '5' } })).json(), { n: 5 }, 'the route coerces, as Fastify does')
  t.match((await wire.call('m', { n: '5' })).error, { code: -32602 })
  app.ds.rpc.register('later', { schema: { params: INTEGER } }, (params) => params)
  t.match((await wire.call('later', { n: '5' })).error, { code: -32602 })
})

t.test('schema: a validator compiler that is set after the registration is used as well', async (t) => {
  const app = quiet()
  await app.register(datasole)
  app.setValidatorCompiler(() => () => true)
  app.post('/route', { schema: { body: INTEGER } }, (request) => request.body)
  app.ds.rpc.register('m', { schema: { params: INTEGER } }, (params) => params)
  const wire = await listening(t, app)
  t.equal((await wire.call('m', 'x')).result, 'x')
  t.equal((await app.inject({ method: 'POST', url: '/route', payload: { n: 'x' } })).statusCode, 200)
})

t.test('schema: a validator compiler of the application\'s own is used', async (t) => {
  const app = quiet()
  const compiled: unknown[] = []
  app.setValidatorCompiler(({ schema }) => {
    compiled.push(schema)
    return (data) => data === 'magic word' ? { value: data } : { error: new Error('say the magic word') }
  })
  await app.register(datasole)
  app.ds.rpc.register('m', { schema: { params: INTEGER } }, (params) => params)
  await app.register(async (child) => {
    child.setValidatorCompiler(() => () => true)
    child.ds.rpc.register('lenient', { schema: { params: INTEGER } }, () => 'anything')
  })
  const wire = await listening(t, app)
  t.equal((await wire.call('m', 'magic word')).result, 'magic word')
  t.match((await wire.call('m', { n: 1 })).error, { code: -32602, data: { errors: [{ message: 'say the magic word' }] } })
  t.equal((await wire.call('lenient', 'x')).result, 'anything')
  t.strictSame(compiled, [INTEGER])
})
