import { once } from 'node:events'
import { type Socket, createServer } from 'node:net'
import Fastify from 'fastify'
import t from 'tap'
import type * as Tap from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import type { Datasole } from '../../lib/server/datasole.js'
import type { BackendConfig, RateLimiter } from '../../lib/server/config/server-options.js'
import { DatasoleServer } from '../../plugins/server.js'
import { stores } from '../helpers/stores.js'
import { until } from '../helpers/until.js'

/** Everything that an application may do before it listens. */
async function use (t: Tap.Test, ds: Datasole, where: string): Promise<void> {
  const { live, state, sessions, crdt, events, fanout, rateLimiter } = ds.primitives
  await live.setState(where, { n: 1 })
  await live.update(where, (draft) => { (draft as { n: number }).n++ })
  t.equal(JSON.stringify(await live.getState(where)), '{"n":2}', where)
  await state.setState(`${where} state`, 1)
  t.equal(await state.deleteState(`${where} state`), true, where)
  await sessions.restore({ userId: where })
  sessions.set(where, 'theme', 'dark')
  await sessions.flush(where)
  const likes = crdt.register(`${where} likes`, 'pn-counter')
  await likes.increment(2)
  t.equal(await likes.value(), 2, where)
  const channel = live.createSyncChannel({ key: `${where} channel`, direction: 'bidirectional', mode: 'json-patch', flush: { flushStrategy: 'immediate' }, initialValue: [where] })
  await channel.update((draft) => { (draft as string[]).push('more') })
  t.equal(JSON.stringify(await channel.get()), JSON.stringify([where, 'more']), where)
  const heard = new Promise((resolve) => { events.on(`${where} event`, ({ data }) => { resolve(data) }) })
  events.emit(`${where} event`, where)
  t.equal(await heard, where, where)
  fanout.broadcast('news', where)
  t.equal((await rateLimiter.consume(where, { windowMs: 60_000, maxRequests: 1 })).allowed, true, where)
  ds.rpc.register(`${where} add`, (params) => (params as { a: number, b: number }).a + (params as { b: number }).b)
  t.equal(await ds.rpc.call(`${where} add`, { a: 1, b: 2 }), 3, where)
}

for (const [kind, open] of Object.entries(stores)) {
  for (const isAwaited of [true, false]) {
    t.test(`${kind}: everything can be used once register is ${isAwaited ? 'awaited' : 'through'}`, { timeout: 60_000 }, async (t) => {
      const store = open()
      const app = Fastify()
      t.teardown(() => app.close())
      const registered = app.register(datasole, { stateBackend: store() })
      if (isAwaited) {
        await registered
        await use(t, app.ds as never, 'after register')
      }
      app.register(async (child) => { await use(t, child.ds as never, 'in a plugin') })
      app.addHook('onReady', async () => { await use(t, app.ds as never, 'in onReady') })
      app.get('/', async () => {
        await use(t, app.ds as never, 'in a route')
        return 'done'
      })
      t.equal((await app.inject('/')).body, 'done')

      const other = Fastify()
      t.teardown(() => other.close())
      await other.register(datasole, { stateBackend: store() })
      t.strictSame(await other.ds.primitives.live.getState('in a route'), { n: 2 })
      t.strictSame(await other.ds.primitives.sessions.restore({ userId: 'in a plugin' }), { theme: 'dark' })
    })
  }
}

t.test('early use: a store that does not answer fails register in time, and nothing stays open', async (t) => {
  const sockets = new Set<Socket>()
  const silent = createServer((socket) => {
    sockets.add(socket.on('error', () => {}).on('close', () => sockets.delete(socket)))
    socket.resume()
  }).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const { port } = silent.address() as { port: number }
  const configs: BackendConfig[] = [
    { type: 'redis', redis: { url: `redis://127.0.0.1:${port}`, connectTimeoutMs: 300 } },
    { type: 'postgres', postgres: { connectionString: `postgres://postgres@127.0.0.1:${port}/none`, connectTimeoutMs: 300 } }
  ]
  for (const backendConfig of configs) {
    for (const isAwaited of [true, false]) {
      const app = Fastify()
      await t.rejects(async () => {
        const registered = app.register(datasole, { backendConfig })
        await (isAwaited ? registered : app.ready())
      }, { code: 'BACKEND_UNAVAILABLE', message: /connectTimeoutMs/ })
      await until(() => sockets.size <= 0)
      await app.close()
    }
    const ds = new DatasoleServer({ backendConfig })
    await t.rejects(ds.init(), { code: 'BACKEND_UNAVAILABLE' })
    await until(() => sockets.size <= 0)
    await ds.close()
  }
})

t.test('early use: a limiter that cannot connect fails register, and the backend is given back', async (t) => {
  let open = 0
  const stateBackend = Object.assign(new MemoryBackend(), { connect: async () => { open++ }, close: async () => { open-- } })
  const rateLimiter = { check () {}, consume () {}, reset () {}, connect: async () => { throw new Error('no limiter') } } as unknown as RateLimiter
  const app = Fastify()
  await t.rejects(async () => { await app.register(datasole, { stateBackend, rateLimiter }) }, { message: 'no limiter' })
  t.equal(open, 0)
  await app.close()
  t.equal(open, 0)
})

t.test('early use: a backend that connects when the application has given up is closed with it', async (t) => {
  let open = 0
  let connect = (): void => {}
  const connecting = new Promise<void>((resolve) => { connect = resolve })
  const stateBackend = Object.assign(new MemoryBackend(), { connect: async () => { await connecting; open++ }, close: async () => { open-- } })
  const app = Fastify({ pluginTimeout: 50 })
  await t.rejects(async () => { await app.register(datasole, { stateBackend }) }, { code: /PLUGIN/ })
  const closed = app.close()
  connect()
  await closed
  t.equal(open, 0)
})

t.test('early use: a method of a worker that is called before the start says when it is there', async (t) => {
  const app = Fastify({ logger: false })
  t.teardown(() => app.close())
  const workerScript = new URL('../executor/script.js', import.meta.url)
  await app.register(datasole, { executor: { model: 'thread-pool', poolSize: 1, workerScript: workerScript.href } })
  await t.rejects(app.ds.rpc.call('add' as never, {} as never), { message: /onReady/, data: { code: 'METHOD_NOT_FOUND' } })
  await app.ready()
  await t.rejects(app.ds.rpc.call('no such method' as never, {} as never), { message: 'unknown method "no such method"' })
})
