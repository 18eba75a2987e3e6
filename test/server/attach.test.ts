import { once } from 'node:events'
import { type Server, createServer } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { createServer as createNetServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import { MemoryBackend } from '../../lib/backend/memory.js'
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

t.test('takes an http server, what has one, or what an adapter gets one from', async (t) => {
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

t.test('anything else is a TypeError that says what is accepted', async (t) => {
  const ds = echoServer(t)
  const attachAny = ds.transport.attach.bind(ds.transport) as (target: unknown, adapter?: unknown) => void
  for (const target of [undefined, null, 5, 'http://localhost', {}, [], () => {}, { server: {} }, { getHttpServer: () => undefined }, createNetServer(), new Map()]) {
    t.throws(() => { attachAny(target) }, { name: 'TypeError', message: /http\.Server.*getHttpServer.*adapter/ })
  }
  t.throws(() => { attachAny(createServer(), () => 5) }, { name: 'TypeError' })
  await t.rejects(attach({} as never), { name: 'TypeError' })
})

t.test('takes an https server', async (t) => {
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

t.test('before init, without init, and while starting', async (t) => {
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

t.test('to two servers, and twice to one', async (t) => {
  const ds = echoServer(t)
  const servers = [createServer(), createServer()]
  for (const server of servers) {
    ds.transport.attach(server)
    ds.transport.attach(server)
    await echoes(t, await listen(t, server))
  }
  await ds.close()
  for (const server of servers) {
    t.equal(server.listenerCount('upgrade'), 0)
    t.notOk(Object.hasOwn(server, 'emit'))
  }
  t.throws(() => { ds.transport.attach(createServer()) }, { code: 'CLOSED' })
})

t.test('upgrades that come while the backend connects wait for it; where it fails they get 503', async (t) => {
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

t.test('the server behind a facade is found from it', async (t) => {
  const ds = echoServer(t)
  for (const facade of [ds.transport, ds.rpc, ds.primitives.live, ds.primitives.state, ds.primitives.events, ds.primitives.fanout]) {
    t.equal(facade.server, ds)
    t.same(Object.keys(facade), [])
  }
})
