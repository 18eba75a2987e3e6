import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { WebSocket, WebSocketServer } from 'ws'
import datasole from '../../index.js'
import { connect, refusal } from '../helpers/wire.js'

/** An application with a neighbour on its server, which answers every upgrade that reaches it. */
async function listening (t: Test, options: FastifyServerOptions, prepare: (app: FastifyInstance) => unknown): Promise<(path: string, headers?: Record<string, string>) => Promise<string>> {
  const app = Fastify(options) as FastifyInstance
  await prepare(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const wss = new WebSocketServer({ noServer: true })
  app.server.on('upgrade', (req, socket, head) => { wss.handleUpgrade(req, socket, head, (ws) => { ws.send(`neighbour ${req.url}`) }) })
  const { port } = app.server.address() as AddressInfo
  return async (path, headers = {}) => {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers })
    const [message] = await once(socket, 'message')
    socket.terminate()
    return String(message)
  }
}

const room = (app: FastifyInstance, url = '/rooms/:room'): void => {
  app.get(url, { websocket: true }, (socket, request) => { socket.send(`room ${(request.params as { room: string }).room}`) })
}

const long = 'x'.repeat(150)

const CASES: Record<string, [FastifyServerOptions, Array<[path: string, answer: string]>]> = {
  'no options': [{}, [['/rooms/a', 'room a'], [`/rooms/${long}`, `neighbour /rooms/${long}`], ['/rooms/a/', 'neighbour /rooms/a/'], ['/ROOMS/a', 'neighbour /ROOMS/a'], ['/rooms/%zz', 'neighbour /rooms/%zz'], ['/rooms/a?b=/c', 'room a'], ['//rooms/a', 'neighbour //rooms/a']]],
  rewriteUrl: [{ rewriteUrl: ({ url = '' }) => url.replace(/^\/app/, '') }, [['/app/rooms/a', 'room a'], ['/rooms/a', 'room a'], ['/app/other', 'neighbour /app/other']]],
  maxParamLength: [{ routerOptions: { maxParamLength: 200 } }, [[`/rooms/${long}`, `room ${long}`]]],
  useSemicolonDelimiter: [{ useSemicolonDelimiter: true }, [['/rooms/a;b=c', 'room a']]],
  caseSensitive: [{ routerOptions: { caseSensitive: false } }, [['/ROOMS/a', 'room a']]],
  ignoreTrailingSlash: [{ routerOptions: { ignoreTrailingSlash: true } }, [['/rooms/a/', 'room a']]],
  ignoreDuplicateSlashes: [{ routerOptions: { ignoreDuplicateSlashes: true } }, [['//rooms//a', 'room a']]]
}

for (const [name, [options, paths]] of Object.entries(CASES)) {
  t.test(`Fastify's router decides: ${name}`, async (t) => {
    let heard = 0
    const answer = await listening(t, options, async (app) => {
      app.addHook('onRequest', async () => { heard++ })
      await app.register(datasole)
      room(app)
    })
    for (const [path, expected] of paths) t.equal(await answer(path), expected, path)
    t.equal(heard, paths.filter(([, expected]) => expected.startsWith('room')).length, 'hooks hear nothing of what is the neighbour\'s')
  })
}

t.test('router: a prefix, with and without a slash', async (t) => {
  const answer = await listening(t, {}, async (app) => {
    await app.register(datasole)
    await app.register(async (scope) => { room(scope, '/') }, { prefix: '/p' })
    await app.register(async (scope) => { scope.get('/', { websocket: true, prefixTrailingSlash: 'no-slash' }, (socket) => { socket.send('q') }) }, { prefix: '/q' })
  })
  t.equal(await answer('/p'), 'room undefined')
  t.equal(await answer('/p/'), 'room undefined')
  t.equal(await answer('/q'), 'q')
  t.equal(await answer('/q/'), 'neighbour /q/')
})

t.test('router: constraints, by host and of the application\'s own', async (t) => {
  const answer = await listening(t, {}, async (app) => {
    app.addConstraintStrategy({
      name: 'tenant',
      storage () {
        const stored = new Map<unknown, unknown>()
        return { get: (key: unknown) => (stored.get(key) ?? null) as never, set: (key: unknown, store: unknown) => { stored.set(key, store) } }
      },
      deriveConstraint: (req: IncomingMessage) => req.headers.connection === 'Upgrade' ? req.headers['x-tenant'] : undefined,
      validate () {}
    } as never)
    await app.register(datasole)
    app.get('/host', { websocket: true, constraints: { host: 'a.example' } }, (socket) => { socket.send('a') })
    app.get('/tenant', { websocket: true, constraints: { tenant: 'b' } }, (socket) => { socket.send('b') })
  })
  t.equal(await answer('/host', { host: 'a.example' }), 'a')
  t.equal(await answer('/host', { host: 'b.example' }), 'neighbour /host')
  t.equal(await answer('/tenant', { 'x-tenant': 'b' }), 'b')
  t.equal(await answer('/tenant', { 'x-tenant': 'c' }), 'neighbour /tenant')
  t.equal(await answer('/tenant'), 'neighbour /tenant')
})

t.test('router: asynchronous constraints cannot be asked in time, so Fastify gets every upgrade', async (t) => {
  let heard = 0
  const app = Fastify()
  app.addConstraintStrategy({
    name: 'tenant',
    storage () {
      const stored = new Map<unknown, unknown>()
      return { get: (key: unknown) => (stored.get(key) ?? null) as never, set: (key: unknown, store: unknown) => { stored.set(key, store) } }
    },
    deriveConstraint: (req: IncomingMessage, _context: unknown, done: (error: null, tenant: unknown) => void) => { setImmediate(done, null, req.headers['x-tenant']) },
    validate () {}
  } as never)
  app.addHook('onRequest', async () => { heard++ })
  await app.register(datasole)
  app.get('/tenant', { websocket: true, constraints: { tenant: 'b' } }, (socket) => { socket.send('b') })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const url = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const socket = new WebSocket(`${url}/tenant`, { headers: { 'x-tenant': 'b' } })
  t.equal(String((await once(socket, 'message'))[0]), 'b')
  socket.terminate()
  await (await connect(`${url}/__ds`)).close()
  t.equal((await refusal(`${url}/nothing`)).status, 404)
  t.equal(heard, 3, 'once for each')
})

t.test('router: a plain route that is nearer, and one that accepts a version', async (t) => {
  const answer = await listening(t, {}, async (app) => {
    await app.register(datasole)
    room(app)
    app.get('/rooms/list', async () => 'plain')
    app.get('/versions', { websocket: true, constraints: { version: '1.2.0' } }, (socket, { headers }) => { socket.send(`version ${headers['accept-version']}`) })
  })
  t.equal(await answer('/rooms/blue'), 'room blue')
  t.equal(await answer('/rooms/list'), 'neighbour /rooms/list')
  t.equal(await answer('/versions', { 'accept-version': '1.x' }), 'version 1.x')
  t.equal(await answer('/versions', { 'accept-version': '2.x' }), 'neighbour /versions')
  t.equal(await answer('/rooms/blue', { 'accept-version': '1.x' }), 'neighbour /rooms/blue', 'as Fastify has it')
})

t.test('router: a childLoggerFactory of the application\'s is used, for upgrades that are served', async (t) => {
  const made: string[] = []
  const answer = await listening(t, {}, async (app) => {
    await app.register(datasole)
    room(app)
    app.get('/own', { websocket: true, childLoggerFactory: (logger, _bindings, _options, raw) => { made.push(`own ${raw.url}`); return logger } }, (socket) => { socket.send('own') })
    app.setChildLoggerFactory((logger, _bindings, _options, raw) => { made.push(`instance's ${raw.url}`); return logger })
  })
  t.equal(await answer('/rooms/a'), 'room a')
  t.equal(await answer('/own'), 'own')
  t.same(made, ['instance\'s /rooms/a', 'own /own'])
})

t.test('a rewriteUrl that throws: 500, and the socket ends', async (t) => {
  const app = Fastify({ rewriteUrl () { throw new Error('a bug') } })
  await app.register(datasole)
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  t.equal((await refusal(`ws://127.0.0.1:${port}/__ds`)).status, 500)
  await app.close()
})

t.test('router: datasole itself behind a rewritten URL', async (t) => {
  const app = Fastify({ rewriteUrl: ({ url = '' }) => url.replace('/v1', '') })
  await app.register(datasole)
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const wire = await connect(`ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/v1/__ds?a=b`)
  await wire.ping()
  await wire.close()
})
