import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { unsubscriber } from '../../lib/protocol/unsubscribe.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { tcp, upgradeRequest } from '../helpers/raw.js'
import { until } from '../helpers/until.js'
import { connect, refusal } from '../helpers/wire.js'

/** Something that a test opens when it is time. */
function gate (): { opened: Promise<void>, open: () => void } {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => { open = resolve })
  return { opened, open }
}

class TrackedBackend extends MemoryBackend {
  readonly calls: string[] = []
  connecting: Promise<void> = Promise.resolve()
  subscribed = 0
  doubts = 0

  async connect (): Promise<void> {
    this.calls.push('connect')
    await this.connecting
  }

  async close (): Promise<void> { this.calls.push('close') }

  onDoubt (): () => void {
    this.doubts++
    return () => { this.doubts-- }
  }

  override subscribe (...args: Parameters<MemoryBackend['subscribe']>): ReturnType<MemoryBackend['subscribe']> {
    this.subscribed++
    const unsubscribe = super.subscribe(...args)
    return unsubscriber(() => { this.subscribed--; unsubscribe() })
  }
}

for (const [entrance, start] of entrances) {
  t.test(`close, ${entrance}`, async (t) => {
    t.test('calls in flight are answered, new ones refused, then clients get 1001', async (t) => {
      const { ds, connect, connectV1, close } = await start(t)
      const { opened, open } = gate()
      ds.rpc.register('slow', async () => { await opened; return 'done' })
      const wire = await connect()
      const v1 = await connectV1()
      const slow = wire.call('slow')
      await wire.ping()
      const closing = close()
      await until(async () => (await v1.call('echo', 1)).error)
      t.match(await wire.call('echo'), { error: { code: -32030, data: { code: 'BUSY', retryAfter: Number } }, begun: false })
      t.match(await wire.call('nope'), { error: { code: -32030 }, begun: false }, 'another server may know it')
      open()
      t.equal((await slow).result, 'done')
      t.match(await wire.nextOf(Opcode.GOAWAY), { id: 0, payload: { begun: [] } })
      t.match(await wire.closed, { code: 1001 })
      t.match(await v1.wire.closed, { code: 1001 })
      t.notOk(v1.wire.received.some(({ opcode }) => opcode === Opcode.GOAWAY))
      await closing
    })

    t.test('what was broadcast before still arrives', async (t) => {
      const { ds, connect, close } = await start(t)
      const wire = await connect()
      await wire.ping()
      for (let i = 0; i < 100; i++) ds.primitives.fanout.broadcast('e', i)
      await close()
      await wire.closed
      t.equal(wire.received.filter(({ opcode }) => opcode === Opcode.EVENT_S2C).length, 100)
    })

    t.test('onDisconnect hooks and event handlers that are under way finish first, and what they write is kept', async (t) => {
      const stateBackend = new MemoryBackend()
      const { ds, connect, close } = await start(t, { stateBackend, authHandler: () => ({ authenticated: true, userId: 'ann' }) })
      const gates = { hook: gate(), handler: gate(), allowed: gate() }
      const began = gate()
      ds.addHook('preEvent', (_ctx, { data }) => data === 'guarded' ? gates.allowed.opened : undefined)
      ds.addHook('onDisconnect', async () => {
        began.open()
        await gates.hook.opened
        ds.primitives.sessions.set('ann', 'hook', true)
        await ds.primitives.state.setState('hook', true)
        throw new Error('counted all the same')
      })
      ds.primitives.events.on('e', async ({ data }) => {
        await gates.handler.opened
        ds.primitives.sessions.set('ann', data as string, true)
        await ds.primitives.state.setState(data as string, true)
        throw new Error('counted all the same')
      })
      const wire = await connect()
      for (const data of ['client', 'guarded']) wire.send(Opcode.EVENT_C2S, 0, { event: 'e', data })
      await wire.ping()
      ds.primitives.events.emit('e', 'server')
      let isClosed = false
      const closing = close().then(() => { isClosed = true })
      await wire.closed
      await began.opened
      for (const each of [gates.hook, gates.allowed, gates.handler]) {
        await setTimeout(100) // enough for a close that does not wait
        t.equal(isClosed, false)
        each.open()
      }
      await closing
      const next = new DatasoleServer({ stateBackend, logger: capturedLogger([]) })
      t.strictSame(await next.primitives.sessions.restore({ userId: 'ann' }), { client: true, server: true, hook: true, guarded: true })
      for (const key of ['client', 'server', 'hook', 'guarded']) t.equal(await next.primitives.state.getState(key), true, key)
      await next.close()
    })

    t.test('hooks and handlers that never end cost closeTimeoutMs, and what other nodes emit meanwhile none', async (t) => {
      const stateBackend = new MemoryBackend()
      const other = new DatasoleServer({ stateBackend, logger: capturedLogger([]) })
      await other.init()
      t.teardown(() => other.close())
      const { ds, connect, close } = await start(t, { stateBackend, closeTimeoutMs: 100 })
      const stopped = gate()
      ds.addHook('onDisconnect', () => new Promise(() => {}))
      ds.primitives.events.on('e', () => new Promise(() => {}))
      ds.primitives.events.on('other', async () => { await stopped.opened })
      const wire = await connect()
      wire.send(Opcode.EVENT_C2S, 0, { event: 'e' })
      await wire.ping()
      const emitting = setInterval(() => { other.primitives.events.emit('other', 1) }, 1)
      await close()
      clearInterval(emitting)
      stopped.open()
    })

    t.test('a call that never ends and a client that never answers cost closeTimeoutMs', async (t) => {
      const { ds, connect, close } = await start(t, { closeTimeoutMs: 100 })
      ds.rpc.register('hang', () => new Promise(() => {}))
      const wire = await connect()
      const silent = await connect()
      silent.socket.pause()
      wire.send(Opcode.RPC_REQ, 1, { method: 'hang', correlationId: 1 })
      await wire.ping()
      await close()
      t.match(await wire.nextOf(Opcode.GOAWAY), { payload: { begun: [1] } }, 'which may have run')
      t.match(await wire.closed, { code: 1001 })
      t.equal(ds.transport.getConnectionCount(), 0)
    })

    t.test('whoever is being authenticated is cut off, or refused', async (t) => {
      for (const late of [false, true]) {
        const { opened, open } = gate()
        const asked = gate()
        let present = 0
        const { ds, url, port, close, connect } = await start(t, {
          closeTimeoutMs: late ? 300 : 10_000,
          authHandler: async (req) => {
            if (req.url === '/__ds') return { authenticated: true }
            asked.open()
            await opened
            return { authenticated: true }
          }
        })
        ds.addHook('onConnect', () => { present++ })
        ds.addHook('onDisconnect', () => { present-- })
        const { opened: released, open: release } = gate()
        ds.rpc.register('slow', () => released)
        const wire = await connect()
        const slow = wire.call('slow')
        await wire.ping()
        if (late) {
          const socket = await tcp(port)
          socket.write(upgradeRequest('/__ds?late'))
          await asked.opened
          const ended = once(socket, 'close')
          const closing = close()
          release()
          await closing
          await ended
          open()
        } else {
          const refused = refusal(`${url}?wait`)
          await asked.opened
          const closing = close()
          await until(async () => (await wire.call('echo')).error)
          open()
          t.equal((await refused).status, 503)
          release()
          await closing
        }
        await slow
        t.match(await wire.closed, { code: 1001 })
        t.equal(ds.transport.getConnectionCount(), 0)
        t.equal(present, 0, 'everyone who was let in has left')
      }
    })

    t.test('upgrades while it closes get 503', async (t) => {
      const { ds, url, connect, close } = await start(t)
      const { opened, open } = gate()
      ds.rpc.register('slow', () => opened)
      const wire = await connect()
      void wire.call('slow')
      await wire.ping()
      // on one connection that was there before: the http server may take no new ones
      const closing = close()
      const outcome = await refusal(url).catch((error: NodeJS.ErrnoException) => error.code)
      t.ok(outcome === 'ECONNREFUSED' || (outcome as { status: number }).status === 503)
      open()
      await closing
    })

    t.test('the backend is connected once and closed once, and nothing stays subscribed', async (t) => {
      const stateBackend = new TrackedBackend()
      const { ds, connect, close } = await start(t, { stateBackend })
      const wire = await connect()
      await ds.primitives.live.setState('k', 1)
      await wire.ask(Opcode.SUBSCRIBE, { key: 'k' })
      await close()
      t.same(stateBackend.calls, ['connect', 'close'])
      t.match(stateBackend, { subscribed: 0, doubts: 0 })
    })
  })
}

t.test('close may be called twice, before init, and while it starts', async (t) => {
  for (const when of ['twice', 'before', 'during']) {
    const stateBackend = new TrackedBackend()
    const { opened, open } = gate()
    stateBackend.connecting = opened
    const ds = new DatasoleServer({ stateBackend })
    const server = createServer()
    ds.transport.attach(server)
    const starting = when === 'before' ? undefined : ds.init()
    if (when === 'twice') { open(); await starting }
    const closing = ds.close()
    open()
    await Promise.all([closing, ds.close(), starting])
    await ds.close()
    t.same(stateBackend.calls, when === 'before' ? [] : ['connect', 'close'], when)
    t.match(stateBackend, { subscribed: 0, doubts: 0 })
    t.equal(server.listenerCount('upgrade'), 0)
    await t.rejects(ds.init(), { code: 'CLOSED' })
  }
})

t.test('a backend that cannot be reached: init and register reject, and close works', async (t) => {
  const stateBackend = new TrackedBackend()
  stateBackend.connecting = Promise.reject(new Error('unreachable'))
  stateBackend.connecting.catch(() => {}) // rejects where it is awaited
  const ds = new DatasoleServer({ stateBackend, logger: capturedLogger([]) })
  await t.rejects(ds.init(), /unreachable/)
  await t.rejects(ds.init(), /unreachable/, 'again')
  await ds.close()
  t.match(stateBackend, { subscribed: 0, doubts: 0 })

  const app = Fastify()
  const other = new TrackedBackend()
  other.connecting = stateBackend.connecting
  await t.rejects(async () => { await app.register(datasole, { stateBackend: other }) }, /unreachable/)
  await app.close()
  t.match(other, { subscribed: 0, doubts: 0 })
})

t.test('a Fastify that never was ready closes', async () => {
  const app = Fastify()
  await app.register(datasole)
  await app.close()
  const other = Fastify()
  void other.register(datasole)
  await other.close()
})

t.test('a neighbour\'s http server goes on after close', async (t) => {
  const server = createServer((_req, res) => { res.end('theirs') })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const { port } = server.address() as AddressInfo
  const ds = new DatasoleServer({ logger: capturedLogger([]) })
  ds.transport.attach(server)
  const wire = await connect(`ws://127.0.0.1:${port}/__ds`)
  await ds.close()
  t.match(await wire.closed, { code: 1001 })
  t.equal(await (await fetch(`http://127.0.0.1:${port}/__ds`)).text(), 'theirs')
})

t.test('a process that has closed ends by itself', async (t) => {
  const standalone = `
    import { createServer } from 'node:http'
    import { once } from 'node:events'
    import { DatasoleServer } from '${new URL('../../plugins/server.js', import.meta.url).href}'
    const ds = new DatasoleServer(SETTINGS)
    const http = createServer()
    ds.transport.attach(http)
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    const url = 'ws://127.0.0.1:' + http.address().port + '/__ds'
    const end = async () => { await ds.close(); http.close() }
  `
  const plugin = `
    import Fastify from 'fastify'
    import datasole from '${new URL('../../index.js', import.meta.url).href}'
    const app = Fastify()
    await app.register(datasole, SETTINGS)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const ds = app.ds
    const url = 'ws://127.0.0.1:' + app.server.address().port + '/__ds'
    const end = () => app.close()
  `
  const client = `
    import { connect, Wire } from '${new URL('../helpers/wire.js', import.meta.url).href}'
    ds.rpc.register('echo', (p) => p)
    ds.rpc.register('hang', () => new Promise(() => {}))
    await ds.primitives.live.setState('k', 1)
    const wire = await connect(url)
    wire.send(1, 1, { method: 'hang', correlationId: 1 })
    console.log((await wire.call('echo', 'served')).result)
    new Wire(url + '?hang')
    await wire.ping()
    await wire.ask(0x0c, { key: 'k' })
    await end()
    console.log((await wire.closed).code)
  `
  const settings = "{ closeTimeoutMs: 200, authTimeoutMs: 60_000, rpcTimeoutMs: 60_000, authHandler: (req) => req.url.endsWith('hang') ? new Promise(() => {}) : { authenticated: true } }"
  for (const server of [standalone, plugin]) {
    const script = (server + client).replace('SETTINGS', settings)
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script], { timeout: 40_000 })
    t.equal(stdout, 'served\n1001\n')
  }
})

const listening = async (server: Server): Promise<string> => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/__ds`
}

const closed = (server: Server): Promise<unknown> => new Promise((resolve) => server.close(resolve))

for (const order of ['ds, then http', 'http, then ds', 'http awaited, then ds', 'ds awaited, then http'] as const) {
  t.test(`close() in whichever order ends: ${order}`, async (t) => {
    const server = createServer()
    const ds = new DatasoleServer({ logger: capturedLogger([]) })
    const { opened, open } = gate()
    const left: number[] = []
    ds.rpc.register('slow', async () => { await opened; return 'done' })
    ds.addHook('onDisconnect', (_connection, code) => { left.push(code) })
    ds.transport.attach(server)
    const wire = await connect(await listening(server))
    const slow = wire.call('slow')
    await wire.ping()
    const close = [() => ds.close(), () => closed(server)]
    if (order.startsWith('http')) close.reverse()
    const first = close[0]!()
    setTimeout(20).then(open, () => {}) // nothing rejects
    if (order.includes('awaited')) await first
    await Promise.all([first, close[1]!()])
    t.equal((await slow).result, 'done', 'the call in flight is answered')
    t.match(await wire.closed, { code: 1001 })
    t.same(left, [1001])
  })
}

t.test('an http server that closes takes its own clients along, and those who still come', async (t) => {
  const servers = [createServer(), createServer()] as const
  let answer = (): void => {}
  const waits = new Promise<void>((resolve) => { answer = resolve })
  const asked = gate()
  const ds = new DatasoleServer({
    logger: capturedLogger([]),
    authHandler: async ({ headers }) => {
      if (headers.authorization !== undefined) { asked.open(); await waits }
      return { authenticated: true }
    }
  })
  for (const server of servers) ds.transport.attach(server)
  const urls = [await listening(servers[0]), await listening(servers[1])] as const
  const [wire, other] = [await connect(urls[0]), await connect(urls[1])]
  const pending = t.rejects(connect(urls[0], { headers: { authorization: 'Bearer a' } }))
  await asked.opened
  await closed(servers[0])
  t.match(await wire.closed, { code: 1001 })
  await pending
  answer()
  await other.ping()

  const again = await connect(await listening(servers[0]))
  await again.ping()
  t.equal(ds.transport.getConnectionCount(), 2, 'and takes others when it listens again')
  await Promise.all([ds.close(), ...servers.map(closed)])
})

for (const [entrance, start] of entrances) {
  t.test(`close, ${entrance}: with drainMs connections end in waves, and no call is lost`, async (t) => {
    const { ds, connect, close, url } = await start(t, { drainMs: 3000, rateLimit: false })
    const { opened, open } = gate()
    ds.rpc.register('slow', async () => { await opened; return 'done' })
    const wires = await Promise.all(Array.from({ length: 20 }, async () => await connect()))
    const slow = wires[0]!.call('slow')
    await wires[0]!.ping()
    const ended: number[] = []
    for (const [i, { closed }] of wires.entries()) void closed.then(({ code }) => { t.equal(code, 1001); ended.push(i) })
    const closing = close()
    await until(() => ended.length > 0)
    t.ok(ended.length < 20, 'not all at once')
    t.equal((await wires[19]!.call('echo', 'served')).result, 'served', 'a connection whose turn has not come is served')
    const late = refusal(url)
    if (entrance === 'fastify') await t.rejects(late, { code: 'ECONNREFUSED' }, 'it listens no more')
    else t.equal((await late).status, 503, 'new ones are refused')
    t.match(await wires[0]!.call('echo', 'late'), { begun: false }, 'one whose turn has come begins no more calls')
    t.notOk(ended.includes(0), 'and ends when those under way are answered')
    open()
    t.equal((await slow).result, 'done')
    await closing
    t.equal(ended.length, 20)
  })
}

t.test('close: with drainMs the connections of an http server that closes first end in waves', async (t) => {
  const http = createServer()
  const ds = new DatasoleServer({ drainMs: 3000, rateLimit: false })
  ds.transport.attach(http)
  await ds.init()
  const url = await listening(http)
  const wires = await Promise.all(Array.from({ length: 20 }, async () => await connect(url)))
  let ended = 0
  for (const { closed } of wires) void closed.then(() => { ended++ })
  http.close()
  const closing = ds.close()
  await until(() => ended > 0)
  t.ok(ended < 20, 'not all at once')
  await t.rejects(connect(url), { code: 'ECONNREFUSED' })
  await closing
  t.match(await Promise.all(wires.map(({ closed }) => closed)), Array.from({ length: 20 }, () => ({ code: 1001 })))
})
