import { once } from 'node:events'
import { type Server, type ServerResponse, createServer } from 'node:http'
import { type Http2SecureServer, type Http2ServerRequest, type Http2ServerResponse, connect as connectHttp2, createSecureServer as createHttp2Server, createServer as createPlainHttp2Server } from 'node:http2'
import { createServer as createSecureServer } from 'node:https'
import { createServer as createNetServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { BUNDLES } from '../../plugins/assets.js'
import { DatasoleServer, attach } from '../../plugins/server.js'
import { capturedLogger } from '../helpers/entrances.js'
import { connect, refusal } from '../helpers/wire.js'

async function listen (t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/__ds`
}

function echoServer (t: Test, options?: ConstructorParameters<typeof DatasoleServer>[0]): DatasoleServer {
  const ds = new DatasoleServer(options)
  ds.rpc.register('echo', (params) => params)
  t.teardown(() => ds.close())
  return ds
}

async function echoes (t: Test, url: string): Promise<void> {
  const wire = await connect(url)
  t.same((await wire.call('echo', { a: 1 })).result, { a: 1 })
  await wire.close()
}

t.test('attach: takes an http server, what has one, or what an adapter gets one from', async (t) => {
  for (const wrap of [
    (server: Server) => [server],
    (server: Server) => [{ getHttpServer: () => server }],
    (server: Server) => [{ server }],
    (server: Server) => [{ mine: { server } }, (target: { mine: { server: Server } }) => target.mine.server]
  ] as Array<(server: Server) => Parameters<DatasoleServer['transport']['attach']>>) {
    const server = createServer()
    const ds = echoServer(t)
    ds.transport.attach(...wrap(server))
    await echoes(t, await listen(t, server))
  }
  const app = Fastify()
  const ds = echoServer(t)
  ds.transport.attach(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await echoes(t, `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`)
  await ds.close()
  await app.close()
})

t.test('attach: anything else is a TypeError that says what is accepted', async (t) => {
  const ds = echoServer(t)
  const attachAny = ds.transport.attach.bind(ds.transport) as (target: unknown, adapter?: unknown) => void
  for (const target of [undefined, null, 5, 'http://localhost', {}, [], () => {}, { server: {} }, { getHttpServer: () => undefined }, createNetServer(), new Map()]) {
    t.throws(() => { attachAny(target) }, { name: 'TypeError', message: /http\.Server.*getHttpServer.*adapter/ })
  }
  t.throws(() => { attachAny(createServer(), () => 5) }, { name: 'TypeError' })
  await t.rejects(attach({} as never), { name: 'TypeError' })
})

t.test('attach: takes an https server', async (t) => {
  // a shared key instead of a certificate
  const psk = Buffer.alloc(16, 7)
  const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
  const server = createSecureServer({ ...tls, pskCallback: () => psk })
  const ds = echoServer(t)
  ds.transport.attach(server)
  const url = (await listen(t, server)).replace('ws:', 'wss:')
  const wire = await connect(url, { ...tls, pskCallback: () => ({ psk, identity: 'test' }), checkServerIdentity: () => undefined } as object)
  t.same((await wire.call('echo', 1)).result, 1)
  await ds.close()
  t.match(await wire.closed, { code: 1001 })
})

t.test('attach: before init, without init, and while starting', async (t) => {
  for (const init of ['before', 'never', 'after'] as const) {
    const server = createServer()
    const ds = echoServer(t)
    if (init === 'before') await ds.init()
    ds.transport.attach(server)
    const starting = init === 'after' ? ds.init() : undefined
    await echoes(t, await listen(t, server))
    await starting
  }
})

t.test('attach() constructs, starts and attaches', async (t) => {
  const server = createServer()
  const ds = await attach(server, { path: '/rt' })
  t.teardown(() => ds.close())
  ds.rpc.register('echo', (params) => params)
  await echoes(t, (await listen(t, server)).replace('/__ds', '/rt'))
})

t.test('attach: to two servers, and twice to one, which is warned of', async (t) => {
  const logs: string[] = []
  const ds = echoServer(t, { logger: capturedLogger(logs) })
  const servers = [createServer(), createServer()]
  for (const server of servers) {
    ds.transport.attach(server)
    ds.transport.attach(server)
    await echoes(t, await listen(t, server))
  }
  t.equal(logs.filter((line) => line.includes('already attached to that http server')).length, 2)
  await ds.close()
  for (const server of servers) {
    t.equal(server.listenerCount('upgrade'), 0)
    t.notOk(Object.hasOwn(server, 'emit'))
    t.notOk(Object.hasOwn(server, 'close'))
  }
  t.throws(() => { ds.transport.attach(createServer()) }, { code: 'CLOSED' })
})

t.test('attach: two servers on one path are an error that says what to do, until the first has gone', async (t) => {
  const server = createServer()
  const first = echoServer(t)
  first.transport.attach(server)
  const second = echoServer(t)
  t.throws(() => { second.transport.attach(server) }, { code: 'PATH_TAKEN', message: /\/__ds.*another path/ })
  await t.rejects(attach(server), { code: 'PATH_TAKEN' })
  const app = Fastify({ serverFactory: () => server })
  await t.rejects(async () => await app.register(datasole), { code: 'PATH_TAKEN' })
  const other = echoServer(t, { path: '/other' })
  other.transport.attach(server)
  await first.close()
  second.transport.attach(server)
  const url = await listen(t, server)
  await echoes(t, url)
  await echoes(t, url.replace('/__ds', '/other'))

  const fastify = Fastify()
  await fastify.register(datasole)
  t.throws(() => { echoServer(t).transport.attach(fastify) }, { code: 'PATH_TAKEN' })
  await fastify.close()
})

t.test('attach: a request that nobody else can answer gets 404', async (t) => {
  const server = createServer()
  const ds = echoServer(t)
  ds.transport.attach(server)
  const origin = (await listen(t, server)).replace('ws:', 'http:').replace('/__ds', '')
  for (const method of ['GET', 'POST']) t.equal((await fetch(`${origin}/`, { method })).status, 404)
  const answer = (_req: unknown, res: ServerResponse): void => { res.end('theirs') }
  server.on('request', answer)
  t.equal(await (await fetch(`${origin}/`)).text(), 'theirs', 'listeners may come later')
  server.off('request', answer)
  t.equal((await fetch(`${origin}/`)).status, 404)
})

t.test('attach: an http2 server that also speaks HTTP/1.1', async (t) => {
  const psk = Buffer.alloc(16, 7)
  const tls = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const
  const asClient = { ...tls, pskCallback: () => ({ psk, identity: 'test' }), checkServerIdentity: () => undefined } as object
  const options = { ...tls, pskCallback: () => psk, allowHTTP1: true }

  async function statusOf (origin: string, path: string): Promise<unknown> {
    const session = connectHttp2(origin, asClient)
    const stream = session.request({ ':path': path })
    const [headers] = await once(stream, 'response') as [Record<string, unknown>]
    stream.resume()
    await once(stream, 'close')
    session.close()
    return headers[':status']
  }

  async function check (t: Test, server: Http2SecureServer, others: number): Promise<void> {
    if (!server.listening) await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    const wire = await connect(`wss://127.0.0.1:${port}/__ds`, asClient)
    t.same((await wire.call('echo', 1)).result, 1)
    await wire.close()
    const origin = `https://127.0.0.1:${port}`
    t.equal(await statusOf(origin, `/__ds/${BUNDLES[0]}`), 200)
    t.equal(await statusOf(origin, '/__ds'), 426)
    t.equal(await statusOf(origin, '/'), others)
  }

  for (const adapter of [undefined, (target: Http2SecureServer) => target]) {
    for (const answer of [undefined, (_req: Http2ServerRequest, res: Http2ServerResponse) => { res.writeHead(299).end() }]) {
      const server = createHttp2Server(options, answer)
      const ds = echoServer(t)
      ds.transport.attach(server, adapter as never)
      await check(t, server, answer === undefined ? 404 : 299)
      await ds.close()
      t.equal(server.listenerCount('request'), answer === undefined ? 0 : 1)
      server.close()
    }
  }

  const app = Fastify({ http2: true, https: options })
  await app.register(datasole as never)
  ;(app as unknown as { ds: DatasoleServer }).ds.rpc.register('echo', (params) => params)
  await app.listen({ port: 0, host: '127.0.0.1' })
  await check(t, app.server as unknown as Http2SecureServer, 404)
  await app.close()

  for (const server of [createHttp2Server({ ...options, allowHTTP1: false }), createPlainHttp2Server()]) {
    t.throws(() => { echoServer(t).transport.attach(server as Http2SecureServer) }, { name: 'TypeError', message: /allowHTTP1/ })
  }
})

t.test('attach: upgrades that come while the backend connects wait for it; where it fails they get 503', async (t) => {
  for (const fails of [false, true]) {
    let settle = (): void => {}
    const settled = new Promise<void>((resolve) => { settle = resolve })
    const stateBackend = Object.assign(new MemoryBackend(), {
      connect: async () => {
        await settled
        if (fails) throw new Error('unreachable')
      }
    })
    const server = createServer()
    const ds = echoServer(t, { stateBackend, logger: capturedLogger([]) })
    ds.transport.attach(server)
    const url = await listen(t, server)
    const init = ds.init()
    init.catch(() => {}) // looked at below
    const outcome = fails ? refusal(url) : echoes(t, url)
    await once(server, 'connection')
    settle()
    if (fails) {
      await t.rejects(init, /unreachable/)
      t.match(await outcome, { status: 503 })
    } else {
      await init
      await outcome
    }
    await ds.close()
  }
})

t.test('attach: the server behind a facade is found from it', async (t) => {
  const ds = echoServer(t)
  for (const facade of [ds.transport, ds.rpc, ds.primitives.live, ds.primitives.state, ds.primitives.events, ds.primitives.fanout]) {
    t.equal(facade.server, ds)
    t.same(Object.keys(facade), [])
  }
})
