import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../../index.js'
import http from '../../../plugins/http.js'
import { DatasoleServer } from '../../../plugins/server.js'

type Document = Record<string, any>

async function check (document: Document): Promise<void> {
  const { valid, errors } = await new Validator().validate(structuredClone(document))
  if (!valid) throw new Error(JSON.stringify(errors, null, 2))
}

t.test('openapi: @fastify/swagger makes a valid document of the routes', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(swagger, { openapi: { openapi: '3.1.0', info: { title: 'shop', version: '1' } } })
  await app.register(datasole)
  await app.register(async (scope) => { await scope.register(http, { prefix: '/ds' }) }, { prefix: '/v1' })
  await app.ready()
  const document = app.swagger() as Document
  await t.resolves(check(document))
  const paths = Object.entries(document.paths as Document).filter(([path]) => path.startsWith('/v1/ds/'))
  t.strictSame(Object.fromEntries(paths.map(([path, item]) => [path, Object.keys(item as Document).filter((method) => method !== 'head').sort()])), {
    '/v1/ds/state/{key}': ['get', 'patch'],
    '/v1/ds/rpc/{method}': ['post'],
    '/v1/ds/events/{event}': ['post'],
    '/v1/ds/connections': ['delete', 'get']
  })
  const { get, patch } = document.paths['/v1/ds/state/{key}']
  t.match(get.parameters, [{ in: 'path', name: 'key', required: true }, { in: 'header', name: 'if-none-match' }, { in: 'header', name: 'prefer' }, { in: 'header', name: 'last-event-id' }])
  t.strictSame(Object.keys(get.responses[200].content), ['application/json', 'text/event-stream'])
  t.strictSame(Object.keys(get.responses), ['200', '304', '400', '401', '403', '404', '429', '503'])
  t.strictSame(Object.keys(patch.requestBody.content), ['application/json-patch+json'])
  t.match(document.paths['/v1/ds/connections'].get.parameters, [{ in: 'query', name: 'connection' }, { in: 'query', name: 'user' }, { in: 'query', name: 'tag' }, { in: 'query', name: 'limit', schema: { type: 'integer', default: 100 } }])
  for (const [path, item] of paths) for (const { summary, tags } of Object.values(item as Document)) t.match({ summary, tags }, { summary: String, tags: ['datasole'] }, path)
})

t.test('openapi: a plain server has one as well, and version 3.0 is valid, too', async (t) => {
  const ds = new DatasoleServer()
  t.teardown(() => ds.close())
  let document: Document = {}
  ds.register(swagger as never, { openapi: { openapi: '3.0.3', info: { title: 'shop', version: '1' } } } as never)
  ds.register(http, { prefix: '/ds' })
  ds.register(async (app) => { app.addHook('onReady', async () => { document = (app as never as { swagger (): Document }).swagger() }) })
  await ds.init()
  await t.resolves(check(document))
  t.ok('/ds/rpc/{method}' in document.paths)
})
