import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import t, { type Test } from 'tap'
import datasole from '../../index.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { AuthResult } from '../../lib/server/context/connection-context.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../plugins/server.js'
import { capturedLogger, entrances } from '../helpers/entrances.js'
import { tcp, upgradeRequest } from '../helpers/raw.js'
import { connect, refusal } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

/** Upgrades whose authentication waits for the test. */
function held (): { authHandler: () => Promise<AuthResult>, asked: () => Promise<void>, answer: (authenticated: boolean) => void, count: number } {
  const waiting: Array<(result: AuthResult) => void> = []
  let wake = (): void => {}
  const self = {
    count: 0,
    authHandler: () => new Promise<AuthResult>((resolve) => { waiting.push(resolve); self.count++; wake() }),
    asked: () => waiting.length > 0 ? Promise.resolve() : new Promise<void>((resolve) => { wake = resolve }),
    answer: (authenticated: boolean) => { waiting.shift()!({ authenticated }) }
  }
  return self
}

/** Connects as soon as there is room: a slot is given back when its socket has closed, which the client hears first. */
async function soon (url: string, options?: Parameters<typeof connect>[1]): ReturnType<typeof connect> {
  const wire = await until(() => connect(url, options).catch((error: unknown) => { if (!String(error).includes('503')) throw error }))
  return wire!
}

for (const [entrance, start] of entrances) {
  t.test(`upgrade, ${entrance}`, async (t) => {
    t.test('503 over maxConnections, before authentication', async (t) => {
      let asked = 0
      const { url, ds, connect } = await start(t, { maxConnections: 2, authHandler: () => { asked++; return { authenticated: true } } })
      const first = await connect()
      await connect()
      t.equal((await refusal(url)).status, 503)
      t.equal(asked, 2)
      t.equal(ds.metrics.snapshot().upgradesRefused, 1)
      await first.close()
      const third = await soon(url)
      t.equal(ds.transport.getConnectionCount(), 2)
      await third.close()
    })

    t.test('upgrades that are still to be authenticated count, and give back their place', async (t) => {
      const auth = held()
      const running = await start(t, { maxConnections: 1, authHandler: auth.authHandler })
      const { url, port } = running
      const pending = refusal(url)
      await auth.asked()
      t.equal((await refusal(url)).status, 503)
      t.equal(auth.count, 1)
      auth.answer(false)
      t.equal((await pending).status, 401)

      // one that goes away in the meantime
      let socket = await tcp(port)
      for (let tries = 1; ; tries++) {
        socket.write(upgradeRequest('/__ds'))
        const refused = once(socket, 'data').then(([head]) => String(head).includes('503'))
        if (!await Promise.race([refused, auth.asked().then(() => false)])) break
        t.ok(tries < 100)
        socket = await tcp(port)
      }
      socket.resetAndDestroy()
      const next = soon(url)
      auth.answer(true)
      await until(() => auth.count >= 3)
      auth.answer(true)
      const wire = await next
      t.equal(running.ds.transport.getConnectionCount(), 1, 'the one that went is not counted')
      await wire.close()
    })

    t.test('503 over maxConnectionsPerAddress', async (t) => {
      const { url, connect } = await start(t, { maxConnectionsPerAddress: 1 })
      const wire = await connect()
      t.equal((await refusal(url)).status, 503)
      const other = await connect({ localAddress: '127.0.0.2' })
      t.equal((await refusal(url, { localAddress: '127.0.0.2' })).status, 503)
      await wire.close()
      await other.close()
      await (await soon(url)).close()
    })

    t.test('what a client says of its address means nothing', async (t) => {
      const { connect, url, ds } = await start(t, { maxConnectionsPerAddress: 1 })
      ds.rpc.register('address', (_, { connection }) => connection.remoteAddress)
      const headers = { 'x-forwarded-for': '10.0.0.1', forwarded: 'for=10.0.0.1', 'x-real-ip': '10.0.0.1' }
      const wire = await connect({ headers })
      t.match((await wire.nextOf(Opcode.WELCOME)).payload, { userId: '127.0.0.1' })
      t.equal((await wire.call('address')).result, '127.0.0.1')
      t.equal((await refusal(url, { headers: { 'x-forwarded-for': '10.0.0.2' } })).status, 503)
    })

    t.test('origins: the same host by default, and any port of this machine', async (t) => {
      const { url, port, logs, connect } = await start(t)
      for (const origin of [undefined, `http://127.0.0.1:${port}`, 'http://localhost:5173', 'https://app.localhost', 'http://[::1]:1']) {
        await (await connect({ origin })).close()
      }
      for (const origin of ['http://a.example', 'https://127.0.0.1.example', 'null', 'file://', 'http://localhost.example', 'nonsense']) {
        t.equal((await refusal(url, { origin })).status, 403, origin)
      }
      t.ok(logs.some((line) => line.includes('allowedOrigins') && line.includes('http://a.example')), 'says how to allow it')
      const headers = { host: 'app.example' }
      await (await connect({ headers, origin: 'https://app.example' })).close()
      t.equal((await refusal(url, { headers, origin: 'https://app.example:444' })).status, 403)
      t.equal((await refusal(url, { headers, origin: 'http://localhost' })).status, 403, 'loopback is only for itself')
    })

    t.test('origins: a list', async (t) => {
      const { url, port, connect } = await start(t, { allowedOrigins: ['https://app.example', 'http://other.example:80/'] })
      await (await connect({ origin: 'https://app.example' })).close()
      await (await connect({ origin: 'http://other.example' })).close()
      await (await connect()).close()
      for (const origin of ['http://app.example', `http://127.0.0.1:${port}`, 'https://app.example.evil', 'null']) {
        t.equal((await refusal(url, { origin })).status, 403, origin)
      }
      const apps = await start(t, { allowedOrigins: ['null', 'capacitor://localhost', 'chrome-extension://abc', 'file://'] })
      for (const origin of ['null', 'capacitor://localhost', 'chrome-extension://abc', 'file://']) await (await apps.connect({ origin })).close()
      for (const origin of ['ionic://localhost', 'capacitor://other', 'capacitor:', 'chrome-extension://abd', 'https://localhost', 'nonsense']) {
        t.equal((await refusal(apps.url, { origin })).status, 403, origin)
      }
    })

    t.test('origins: a function', async (t) => {
      const seen: string[] = []
      const { url, connect } = await start(t, { allowedOrigins: (origin, req) => { seen.push(`${origin} ${req.url}`); return origin === 'app://mine' } })
      await (await connect({ origin: 'app://mine' })).close()
      t.equal((await refusal(url, { origin: 'https://a.example' })).status, 403)
      t.same(seen, ['app://mine /__ds', 'https://a.example /__ds'])
    })

    t.test('origins: a function that throws, or answers something else, allows nothing', async (t) => {
      const answers: Array<() => unknown> = [() => { throw new Error('secret cause') }, () => 'yes', async () => false, async () => true, async () => { throw new Error('secret cause') }]
      for (const answer of answers) {
        const { url, logs } = await start(t, { allowedOrigins: answer as () => boolean })
        const { status, body } = await refusal(url, { origin: 'https://a.example' })
        t.ok(status === 403 || status === 500, `${status}`)
        t.notMatch(body, 'secret cause')
        t.ok(logs.some((line) => line.includes('allowedOrigins')), 'the log says which option it was')
      }
    })

    t.test('403 where an onConnect hook throws or rejects', async (t) => {
      let disconnected = 0
      const { url, ds } = await start(t)
      let error: () => void = () => { throw new Error('secret cause') }
      ds.addHook('onConnect', async () => { error() })
      ds.addHook('onDisconnect', () => { disconnected++ })
      const { status, body } = await refusal(url)
      t.equal(status, 403)
      t.notMatch(body, 'secret cause')
      error = () => {}
      await (await connect(url)).close()
      await until(() => ds.transport.getConnectionCount() <= 0)
      t.equal(disconnected, 1, 'only who was let in can leave')
    })

    t.test('500 where onConnect hooks hang, which holds no place; who is let in after all has gone by then', async (t) => {
      const { url, ds, logs } = await start(t, { maxConnections: 1, authTimeoutMs: 50 })
      const entered: Array<(error?: Error) => void> = []
      const left: number[] = []
      ds.addHook('onConnect', () => entered.length < 2 ? new Promise<void>((resolve, reject) => { entered.push((error) => { error === undefined ? resolve() : reject(error) }) }) : undefined)
      ds.addHook('onDisconnect', (_connection, code) => { left.push(code) })
      for (let refused = 0; refused < 2;) {
        const { status } = await refusal(url)
        if (status === 503) continue // its place is given back when its socket has closed
        t.equal(status, 500)
        refused++
      }
      t.equal(logs.filter((line) => line.includes('onConnect hooks did not answer within authTimeoutMs (50)')).length, 2)
      t.same(left, [])
      entered[0]!()
      entered[1]!(new Error('no'))
      await new Promise((resolve) => setImmediate(resolve))
      t.same(left, [1006], 'who was never let in does not leave')
      await (await soon(url)).close()
    })

    t.test('onDisconnect runs once for everyone whom onConnect let in, even where they never became a connection', async (t) => {
      const { ds, port, connect } = await start(t)
      let letIn = (): void => {}
      const entered: Array<() => void> = []
      const left: number[] = []
      ds.addHook('onConnect', () => new Promise<void>((resolve) => { entered.push(resolve); letIn() }))
      ds.addHook('onDisconnect', (_connection, code) => { left.push(code) })
      const inHook = new Promise<void>((resolve) => { letIn = resolve })
      const socket = await tcp(port)
      socket.write(upgradeRequest('/__ds'))
      await inHook
      socket.resetAndDestroy()
      // the server has noticed once its side of the connection is gone
      const pending = connect()
      await until(() => entered.length >= 2)
      entered.forEach((enter) => { enter() })
      const wire = await pending
      await wire.close()
      await until(() => left.length >= 2)
      t.same(left.sort(), [1005, 1006])
      t.equal(ds.transport.getConnectionCount(), 0)
    })

    t.test('selects the newest of its subprotocols and nothing else, in whichever order', async (t) => {
      const { connect } = await start(t)
      const token = `datasole.token.${Buffer.from('secret').toString('base64url')}`
      for (const protocols of [['datasole.v2'], ['datasole.v2', token], [token, 'datasole.v2'], ['graphql-ws', 'datasole.v2']]) {
        const wire = await connect({ protocols })
        t.equal(wire.socket.protocol, 'datasole.v2')
        t.strictSame([await wire.next()].map(({ opcode, payload: { protocol, at } }) => [opcode, protocol, at]), [[Opcode.WELCOME, 2, undefined]])
        await wire.close()
      }
      for (const protocols of [['datasole.v3'], ['datasole.v2', token, 'datasole.v3'], ['datasole.v3', 'datasole.v2']]) {
        const wire = await connect({ protocols })
        t.equal(wire.socket.protocol, 'datasole.v3')
        t.match(await wire.next(), { opcode: Opcode.WELCOME, payload: { protocol: 3, at: Number } })
        await wire.close()
      }
      const v1 = await connect({ protocols: [] })
      t.equal(v1.socket.protocol, '')
      await v1.ping()
      await v1.close()
    })

    t.test('never agrees to permessage-deflate', async (t) => {
      const { connect, connectV1 } = await start(t)
      t.equal((await connect({ perMessageDeflate: true })).socket.extensions, '')
      t.equal((await connectV1({ perMessageDeflate: true })).wire.socket.extensions, '')
    })

    t.test('a path that is nobody\'s gets 404, and its socket ends', async (t) => {
      const running = await start(t, { path: '/realtime' })
      t.equal((await refusal(running.url.replace('/realtime', '/__ds'))).status, 404)
      t.equal((await refusal(`${running.url}/more`)).status, 404)
      await (await connect(`${running.url}?a=b`)).close()
    })
  })
}

for (const entrance of ['fastify', 'standalone']) {
  /** One that takes the word of a proxy at `trustProxy`. */
  async function behindProxy (t: Test, trustProxy: string | boolean, options: DatasoleServerOptions): Promise<string> {
    const app = Fastify({ trustProxy })
    const server = entrance === 'fastify' ? app.server : createServer()
    if (entrance === 'fastify') {
      await app.register(datasole, options)
      await app.ready()
    } else {
      const ds = new DatasoleServer({ trustProxy, logger: capturedLogger([]), ...options })
      ds.transport.attach(server)
      t.teardown(() => ds.close())
    }
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => { server.closeAllConnections(); server.close(); return app.close() })
    return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/__ds`
  }

  t.test(`${entrance}: behind a proxy that is trusted, the address is the one that it names`, async (t) => {
    const url = await behindProxy(t, '127.0.0.1', { maxConnectionsPerAddress: 1 })
    const wires = []
    for (const address of ['10.0.0.1', '10.0.0.2']) {
      const headers = { 'x-forwarded-for': address }
      const wire = await connect(url, { headers })
      wires.push(wire)
      t.match((await wire.nextOf(Opcode.WELCOME)).payload, { userId: address })
      t.equal((await refusal(url, { headers })).status, 503)
    }
    for (const wire of wires) wire.socket.terminate()
  })

  t.test(`${entrance}: and pages of the host that it names may connect`, async (t) => {
    const headers = { 'x-forwarded-host': 'app.example' }
    const url = await behindProxy(t, true, {})
    await (await connect(url, { headers, origin: 'https://app.example' })).close()
    t.equal((await refusal(url, { headers, origin: 'https://b.example' })).status, 403)
    t.equal((await refusal(url, { headers, origin: url.replace('ws:', 'http:').replace('/__ds', '') })).status, 403)
    const other = await behindProxy(t, '10.0.0.1', {})
    t.equal((await refusal(other, { headers, origin: 'https://app.example' })).status, 403, 'of another proxy it means nothing')
  })
}

t.test('upgrade: a hook that changes the address after the upgrade was counted does not keep its slot', async (t) => {
  const app = Fastify({ trustProxy: true })
  app.addHook('preValidation', async ({ raw }) => { raw.headers['x-forwarded-for'] = '10.0.0.9' })
  await app.register(datasole, { maxConnectionsPerAddress: 1 })
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const url = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/__ds`
  for (let i = 0; i < 3; i++) {
    const wire = await soon(url, { headers: { 'x-forwarded-for': '10.0.0.1' } })
    t.match((await wire.nextOf(Opcode.WELCOME)).payload, { userId: '10.0.0.1' })
    await wire.close()
  }
})

t.test('upgrade: under Fastify, trustProxy is Fastify\'s', async (t) => {
  const app = Fastify()
  await t.rejects(async () => await app.register(datasole, { trustProxy: true }), { code: 'INVALID_OPTION', message: /Fastify\(\{ trustProxy \}\)/ })
})
