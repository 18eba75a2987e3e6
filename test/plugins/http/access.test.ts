import { once } from 'node:events'
import { get } from 'node:http'
import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole from '../../../index.js'
import { defineContract } from '../../../lib/contract/exports.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import http from '../../../plugins/http.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../../plugins/server.js'
import { until } from '../../helpers/until.js'
import { follow } from './event-reader.js'
import { type Answer, ask, httpEntrances, startFastify } from './start.js'

/** The answer of an upgrade that is refused. */
async function upgrade (port: number, headers: Record<string, string>): Promise<{ status: number, body: unknown }> {
  const request = get({ port, host: '127.0.0.1', path: '/__ds', headers: { connection: 'upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'MDEyMzQ1Njc4OWFiY2RlZg==', ...headers } })
  const [response] = await once(request, 'response')
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode, body: JSON.parse(Buffer.concat(chunks).toString()) }
}

for (const [entrance, start] of httpEntrances) {
  t.test(`access, ${entrance}: refusals are those of an upgrade`, async (t) => {
    const seen: unknown[] = []
    const authHandler: NonNullable<DatasoleServerOptions['authHandler']> = async (req, request) => {
      seen.push([req.url, request?.ip])
      const token = req.headers.authorization
      if (token === 'Bearer broken') throw new Error('broken')
      if (token === 'Bearer nonsense') return 1 as never
      if (token === 'Bearer old') return { authenticated: true, expiresAt: Date.now() - 1 }
      return { authenticated: token !== undefined && token !== 'Bearer bad', userId: token?.slice(7) } as never
    }
    const { api, port, logs } = await start(t, {
      authHandler,
      http: { allowPatch: true, allowBroadcast: true, allowConnections: true, allowDisconnect: true },
      prepare: (ds) => {
        ds.addHook('onConnect', async ({ userId }) => {
          if (userId === 'banned') throw new Error('banned')
          if (userId === 'unlucky') throw new TypeError('a bug')
        })
      }
    })
    for (const token of ['bad', 'broken', 'nonsense', 'old', 'banned', 'unlucky']) {
      const headers = { authorization: `Bearer ${token}` }
      const refused = await upgrade(port, headers)
      const requests: Array<[string, string, object?]> = [['GET', 'state/a'], ['POST', 'rpc/a'], ['POST', 'events/a'], ['GET', 'connections'], ['DELETE', 'connections?user=a']]
      for (const [method, path] of requests) {
        const { status, body } = await ask(`${api}/${path}`, { method, headers })
        t.strictSame({ status, body }, refused, `${token}: ${method} ${path}`)
      }
      const { status, body } = await ask(`${api}/state/a`, { headers: { ...headers, accept: 'text/event-stream' } })
      t.strictSame({ status, body }, refused, `${token}: stream`)
    }
    t.equal((await ask(`${api}/state/a?token=good&x=1`)).status, 404, 'EventSource cannot send headers')
    t.strictSame(seen.at(-1), ['/api/state/a?token=good&x=1', '127.0.0.1'])
    t.notMatch(logs.join(''), 'token=good')
  })

  t.test(`access, ${entrance}: pages of other origins`, async (t) => {
    const { api, port } = await start(t, { allowedOrigins: ['https://app.example'], prepare: (ds) => { ds.rpc.register('act', () => 1) } })
    const from = (origin: string): ReturnType<typeof ask> => ask(`${api}/rpc/act`, { method: 'POST', headers: { origin } })
    t.match(await from('https://evil.example'), { status: 403, body: { statusCode: 403, error: 'origin not allowed' } })
    t.strictSame((await from('https://evil.example')).body, (await upgrade(port, { origin: 'https://evil.example' })).body)
    t.equal((await from('https://app.example')).status, 200)
  })
}

t.test('access: a request is a connection until its answer', async (t) => {
  const life: string[] = []
  const { api, ds } = await startFastify(t, {
    authHandler: async () => ({ authenticated: true, userId: 'ann' }),
    prepare: (ds) => {
      ds.addHook('onConnect', ({ transport }) => { life.push(`connect ${transport}`) })
      ds.addHook('onDisconnect', (_connection, code) => { life.push(`disconnect ${code}`) })
      ds.rpc.register('look', async (_params, { connection }) => {
        connection.tags.add('busy')
        const { connections } = await ds.connections.list({ tag: 'busy' })
        return connections.map(({ userId, transport }) => [userId, transport])
      })
    }
  })
  t.strictSame((await ask(`${api}/rpc/look`, { method: 'POST' })).body, { result: [['ann', 'http']] })
  t.strictSame(life, ['connect http', 'disconnect 1000'])
  const reader = await follow(t, `${api}/state/a`)
  reader.end()
  await until(() => life.length === 4)
  t.strictSame(life.slice(2), ['connect http', 'disconnect 1006'])
  t.equal((await ds.connections.count()).count, 0)
})

t.test('access: the hooks and handlers of the scope come first, and no other scope has the routes', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  const checked: string[] = []
  await app.register(datasole, { authHandler: async () => { checked.push('auth'); return { authenticated: true } } })
  app.setErrorHandler(async (error: Error, _request, reply) => await reply.code(418).send({ told: error.message }))
  await app.register(async (scope) => {
    scope.addHook('onRequest', async (request) => { if (request.headers['x-key'] !== 'right') throw new Error('no key') })
    scope.addContentTypeParser('text/plain', (_request, _payload, done) => { done(null, 'mine') })
    await scope.register(http, { prefix: '/ds' })
    scope.post('/own', async (request) => ({ body: request.body }))
  }, { prefix: '/v1' })
  t.match(await app.inject('/v1/ds/state/a'), { statusCode: 418, body: '{"told":"no key"}' })
  t.strictSame(checked, [])
  t.match(await app.inject({ url: '/v1/ds/state/a', headers: { 'x-key': 'right' } }), { statusCode: 404, body: /UNKNOWN_KEY/ })
  t.strictSame(checked, ['auth'])
  for (const url of ['/ds/state/a', '/state/a', '/v1/state/a']) t.equal((await app.inject({ url, headers: { 'x-key': 'right' } })).statusCode, 404, url)
  t.match(await app.inject({ method: 'POST', url: '/v1/own', payload: 'a', headers: { 'x-key': 'right', 'content-type': 'text/plain' } }), { statusCode: 200, body: '{"body":"mine"}' })
  t.match(await app.inject({ method: 'POST', url: '/v1/own', payload: { a: 1 }, headers: { 'x-key': 'right' } }), { statusCode: 200, body: '{"body":{"a":1}}' })
  t.equal((await app.inject({ method: 'OPTIONS', url: '/v1/ds/state/a', headers: { 'x-key': 'right' } })).statusCode, 404, 'CORS is for @fastify/cors')
})

t.test('access: headers that hooks of the scope set, as @fastify/cors does, are on every answer', async (t) => {
  const { api } = await startFastify(t, {
    prepare: (ds, scope) => {
      (scope as FastifyInstance).addHook('onRequest', async (_request, reply) => { reply.header('access-control-allow-origin', 'https://app.example') })
      ds.rpc.register('act', () => 1)
    }
  })
  const answers = [await ask(`${api}/state/a`), await ask(`${api}/rpc/act`, { method: 'POST' }), await ask(`${api}/connections`)]
  for (const { status, headers } of answers) t.equal(headers.get('access-control-allow-origin'), 'https://app.example', String(status))
  t.equal((await follow(t, `${api}/state/a`)).response.headers['access-control-allow-origin'], 'https://app.example')
})

t.test('access: a client of a contract that is too old', async (t) => {
  const { api } = await startFastify(t, { contract: defineContract({ version: 3, accepts: '>=2', state: {} }) })
  t.match(await ask(`${api}/state/a?contract=1`), { status: 409, body: { code: 'CLOSED', error: /contract version 1 is not accepted/ } })
  t.match(await ask(`${api}/state/a?contract=1`, { headers: { accept: 'text/event-stream' } }), { status: 409 })
  t.equal((await ask(`${api}/state/a?contract=3`)).status, 404)
})

t.test('access: mistakes of registration', async (t) => {
  const starting = async (...options: object[]): Promise<unknown> => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(datasole)
    for (const each of options) await app.register(http, each)
    return await app.ready()
  }
  await t.rejects(starting({ prefix: 'api' }), { code: 'INVALID_OPTION', message: /prefix/ })
  await t.rejects(starting({ maxStreams: -1 }), { code: 'INVALID_OPTION', message: /maxStreams/ })
  await t.rejects(starting({ maxStreamsPerUser: 0.5 }), { code: 'INVALID_OPTION', message: /maxStreamsPerUser/ })
  await t.rejects(starting({ maxWaitMs: 'long' }), { code: 'INVALID_OPTION', message: /maxWaitMs/ })
  await t.rejects(starting({ allowPatch: 'yes' }), { code: 'INVALID_OPTION', message: /allowPatch/ })
  await t.rejects(starting({ allowPush: true }), { code: 'INVALID_OPTION', message: /allowPush/ })
  await t.rejects(starting({}, { prefix: '/two' }), { code: 'DUPLICATE_REGISTRATION' })
  await t.rejects(async () => { await Fastify().register(http).ready() }, /datasole/)
  const ds = new DatasoleServer()
  ds.register(http, { prefix: 'api' })
  await t.rejects(ds.init(), { code: 'INVALID_OPTION' })
  await ds.close()
})

t.test('access: a permission that fails is no permission', async (t) => {
  const { api, logs } = await startFastify(t, {
    http: {
      allowPatch: (() => 'yes') as never,
      allowBroadcast: () => { throw new Error('a secret') },
      allowConnections: async () => false
    }
  })
  t.equal((await ask(`${api}/state/a`, { method: 'PATCH', json: [], type: 'application/json-patch+json' })).status, 403)
  const failed = await ask(`${api}/events/a`, { method: 'POST', json: {} })
  t.match(failed, { status: 500, body: { code: 'INTERNAL', error: /^internal error \([\w-]+\)$/ } })
  t.match(logs.join(''), 'a secret')
  t.equal((await ask(`${api}/connections`)).status, 403)
})

t.test('access: nothing is done for a user who was disconnected while a permission or a hook was asked', async (t) => {
  const waiting: Array<() => void> = []
  const wait = async (): Promise<true> => await new Promise((resolve) => { waiting.push(() => { resolve(true) }) })
  const { api, ds, connect } = await startFastify(t, {
    authHandler: async (req) => ({ authenticated: true, userId: req.headers.authorization ?? 'bob' }),
    http: { allowPatch: wait, allowBroadcast: wait, allowDisconnect: wait },
    prepare: (ds) => {
      ds.primitives.live.createSyncChannel({ key: 'form', direction: 'bidirectional', mode: 'json-patch', initialValue: 0 })
      ds.addHook('prePush', async (ctx, { key }) => { if (key === 'form' && ctx.connection.userId === 'ann') await wait() })
    }
  })
  const bob = await connect()
  const headers = { authorization: 'ann' }
  const patch = (key: string): Promise<Answer> => ask(`${api}/state/${key}`, { method: 'PATCH', json: [{ op: 'add', path: '', value: 1 }], type: 'application/json-patch+json', headers })
  const changes = (data: number): Array<Promise<Answer>> => [patch('other'), patch('form'), ask(`${api}/events/news`, { method: 'POST', json: { data }, headers })]
  const refused = [...changes(1), ask(`${api}/connections?user=bob`, { method: 'DELETE', headers })]
  await until(() => waiting.length === 4)
  ds.disconnectUser('ann')
  for (const answer of refused) t.match(await answer, { status: 401, body: { code: 'CLOSED', error: 'disconnected by the server' } })
  for (const release of waiting.splice(0)) release()
  t.equal(await ds.primitives.live.getState('other'), undefined)
  t.equal(await ds.primitives.live.getState('form'), 0)
  const done = changes(2)
  await until(() => waiting.length === 3)
  for (const release of waiting.splice(0)) release()
  t.strictSame((await Promise.all(done)).map(({ status }) => status), [204, 204, 204])
  t.match((await bob.nextOf(Opcode.EVENT_S2C)).payload, { data: 2 }, 'it is connected, and has not heard of the first')
  await until(() => ds.transport.getConnectionCount() === 1)
})
