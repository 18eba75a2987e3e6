import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type IncomingMessage, type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import type { DatasoleServerOptions } from '../../plugins/connections.js'
import { DatasoleServer } from '../../plugins/server.js'
import { exchange, upgradeRequest } from '../helpers/raw.js'
import { Wire, connect, refusal } from '../helpers/wire.js'

async function start (t: Test, options: DatasoleServerOptions, prepare: (ds: DatasoleServer) => void = () => {}, unix?: string): Promise<string> {
  const http: Server = createServer()
  const ds = new DatasoleServer(options)
  prepare(ds)
  ds.transport.attach(http)
  await ds.init()
  if (unix === undefined) http.listen(0, '127.0.0.1')
  else http.listen(unix)
  await once(http, 'listening')
  t.teardown(async () => {
    await ds.close()
    http.close()
  })
  return unix ?? `ws://127.0.0.1:${(http.address() as AddressInfo).port}/__ds`
}

type Test = Pick<typeof t, 'teardown'>

t.test('hooks of plugins see upgrades of a standalone server, and may refuse them', async (t) => {
  const seen: string[] = []
  const url = await start(t, {}, (ds) => {
    ds.register(fp(async (app: FastifyInstance) => {
      app.addHook('onRequest', async (request, reply) => {
        seen.push(String(request.headers['x-name']))
        if (request.headers['x-name'] === 'eve') return reply.code(418).send({ no: 'tea' })
      })
    }))
  })
  t.match(await refusal(url, { headers: { 'x-name': 'eve' } }), { status: 418, body: '{"no":"tea"}' })
  await (await connect(url, { headers: { 'x-name': 'ann' } })).close()
  t.strictSame(seen, ['eve', 'ann'])
})

const refuseAll = async (_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => await reply.code(429).send('too many')

t.test('hooks that a plugin adds to every route, or to every scope, see them, too', async (t) => {
  const plugins: Record<string, (app: FastifyInstance) => unknown> = {
    // as @fastify/rate-limit does
    onRoute: (app) => app.addHook('onRoute', (route) => { route.onRequest = [refuseAll, ...[route.onRequest ?? []].flat()] }),
    onRegister: (app) => app.addHook('onRegister', (instance) => { instance.addHook('onRequest', refuseAll) })
  }
  for (const [name, plugin] of Object.entries(plugins)) {
    const url = await start(t, {}, (ds) => { ds.register(fp(async (app: FastifyInstance) => { plugin(app) })) })
    t.match(await refusal(url), { status: 429, body: 'too many' }, name)
  }
})

t.test('a client of a Unix socket has no address, and without authentication no userId', async (t) => {
  const where = await mkdtemp(join(tmpdir(), 'ds-')) // a path of a socket has at most 107 bytes
  t.teardown(() => rm(where, { recursive: true }))
  const contexts: unknown[] = []
  for (const isRouted of [false, true]) {
    const path = join(where, String(isRouted))
    await start(t, {}, (ds) => {
      ds.addHook('onConnect', ({ remoteAddress, auth }) => { contexts.push({ remoteAddress, auth }) })
      if (isRouted) ds.register(fp(async (app: FastifyInstance) => { app.addHook('onRequest', async () => {}) }))
    }, path)
    const wire = await connect(`ws+unix://${path}:/__ds`)
    t.notOk('userId' in (await wire.next()).payload)
    await wire.close()
  }
  t.strictSame(contexts[0], contexts[1])
})

t.test('hooks of encapsulated plugins do not', async (t) => {
  const url = await start(t, {}, (ds) => {
    ds.register(async (app) => { app.addHook('onRequest', async () => { throw new Error('it is another route') }) })
  })
  await (await connect(url)).close()
})

t.test('an auth handler that takes the request of Fastify gets it', async (t) => {
  const url = await start(t, { authHandler: async (req, request) => ({ authenticated: request?.raw === req && request.ip === '127.0.0.1', userId: 'ann' }) })
  const wire = await connect(url)
  t.match((await wire.next()).payload, { userId: 'ann' })
  await wire.close()
})

t.test('refusals are the same with and without Fastify', async (t) => {
  let isAllowed = true
  const options: DatasoleServerOptions = {
    maxConnections: 1,
    allowedOrigins: () => { if (!isAllowed) throw new Error('nobody knows'); return false },
    authHandler: async (req) => ({ authenticated: req.headers.authorization === 'Bearer yes' })
  }
  const [direct, routed] = [await start(t, options), await start(t, options, (ds) => { ds.register(fp(async (app: FastifyInstance) => { app.addHook('onRequest', async () => {}) })) })]
  const both = async (headers: Record<string, string>): Promise<void> => {
    const [one, other] = [await refusal(direct, { headers }), await refusal(routed, { headers })]
    t.strictSame([one.status, one.body], [other.status, other.body])
    for (const name of ['connection', 'content-type', 'content-length']) t.equal(one.headers[name], other.headers[name], name)
  }
  await both({})
  await both({ origin: 'https://elsewhere.example' })
  isAllowed = false
  await both({ origin: 'https://elsewhere.example' })
  const wires = [await connect(direct, { headers: { authorization: 'Bearer yes' } }), await connect(routed, { headers: { authorization: 'Bearer yes' } })]
  await both({ authorization: 'Bearer yes' })
  for (const wire of wires) await wire.close()
})

t.test('listeners of the WebSocket server are called, with and without Fastify', async (t) => {
  for (const hasHook of [false, true]) {
    let connections = 0
    const url = await start(t, {}, (ds) => {
      ds.register(fp(async (app: FastifyInstance) => {
        app.websocketServer.on('headers', (headers) => { headers.push('Set-Cookie: seen=1') })
        app.websocketServer.on('connection', () => { connections++ })
        if (hasHook) app.addHook('onRequest', async () => {})
      }))
    })
    const wire = new Wire(url)
    const [response] = await once(wire.socket, 'upgrade') as [IncomingMessage]
    t.strictSame(response.headers['set-cookie'], ['seen=1'])
    t.match((await wire.next()).payload, { protocol: 3 })
    t.equal(connections, 1)
    await wire.close()
  }
})

t.test('listeners of the WebSocket server are called on it, and those that are called once leave the others alone', async (t) => {
  for (const hasHook of [false, true]) {
    let server: FastifyInstance['websocketServer'] | undefined
    const servers: unknown[] = []
    const url = await start(t, {}, (ds) => {
      ds.register(fp(async (app: FastifyInstance) => {
        server = app.websocketServer
        server.on('headers', function () { servers.push(this) })
        server.on('connection', function () { servers.push(this) })
        if (hasHook) app.addHook('onRequest', async () => {})
      }))
    })
    for (let i = 0; i < 3; i++) {
      server!.once('wsClientError', (_error, socket) => { socket.destroy() })
      await exchange(Number(new URL(url).port), upgradeRequest('/__ds', { 'Sec-WebSocket-Key': 'short' }))
    }
    await (await connect(url)).close()
    t.equal(servers.length, 2)
    for (const each of servers) t.ok(each === server)
  }
})

t.test('an http server that closes ends its connections, also those that another one handed it, and no others', async (t) => {
  const ds = new DatasoleServer()
  const [closing, front, other] = [createServer(), createServer(), createServer()]
  front.on('upgrade', (...upgrade) => { closing.emit('upgrade', ...upgrade) })
  for (const http of [closing, other]) ds.transport.attach(http)
  await ds.init()
  const wires = []
  for (const http of [closing, front, other]) {
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    wires.push(await connect(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/__ds`))
  }
  t.teardown(async () => {
    await ds.close()
    for (const http of [front, other]) http.close()
  })
  const [own, handed, third] = wires
  const ends = Promise.all([own!, handed!].map(({ socket }) => once(socket, 'close')))
  closing.close()
  t.strictSame((await ends).map(([code]) => code as number), [1001, 1001])
  await third!.ping()
  t.equal(ds.transport.getConnectionCount(), 1)
})
