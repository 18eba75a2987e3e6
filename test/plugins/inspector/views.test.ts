import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../../index.js'
import type { ConnectionsView, KeysView, MethodsView, Overview } from '../../../lib/inspector/views.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import inspector from '../../../plugins/inspector.js'
import memory from '../../../plugins/memory.js'
import { until } from '../../helpers/until.js'
import { servedEntrances } from '../metrics/servers.js'
import { viewer } from './viewer.js'

const { SUBSCRIBE, STATE_SNAPSHOT } = Opcode

for (const [entrance, start] of servedEntrances) {
  t.test(`${entrance}: the page and its files are served, and nothing else`, async (t) => {
    const { get } = await start(t, async (app) => { await app.register(inspector, { prefix: '/ops/inspector' }) })
    const page = await get('/ops/inspector')
    t.equal(page.url.endsWith('/ops/inspector/'), true, 'a path without a slash leads to the one with it')
    t.match(page.headers.get('content-security-policy'), /^default-src 'none'/)
    t.equal(page.headers.get('x-frame-options'), 'DENY')
    const html = await page.text()
    t.match(html, /<title>datasole inspector/)
    for (const [, file] of html.matchAll(/(?:src|href)="([^"#:]+)"/g)) t.equal((await get(`/ops/inspector/${file}`)).status, 200, file)
    t.notMatch(html, /https?:\/\//, 'no request goes elsewhere')
    const script = await get('/ops/inspector/page.js')
    t.equal(script.headers.get('content-type'), 'text/javascript; charset=utf-8')
    t.equal(script.headers.get('access-control-allow-origin'), null)
    t.equal((await get('/ops/inspector/index.html')).status, 404)
    t.equal((await get('/inspector/')).status, 404)
    t.equal((await get('/ops/inspector/live')).status, 426)
  })

  t.test(`${entrance}: a viewer sees connections, keys, methods and refusals`, async (t) => {
    const { url, connect } = await start(t, async (app) => {
      await app.register(inspector)
      app.ds.rpc.register('echo', (params) => params)
      app.ds.rpc.register('slow', async () => { await new Promise((resolve) => { setTimeout(resolve, 30) }) })
      app.ds.rpc.register('fails', () => { throw Object.assign(new Error('no'), { code: 12 }) })
      app.ds.rpc.register('never', () => 0)
      app.ds.rpc.register('write', async (text) => { await app.ds.primitives.live.setState('board', { text }) })
      app.ds.addHook('onConnect', (connection) => { connection.tags.add('room-7') })
    }, { authHandler: () => ({ authenticated: true, userId: 'ann' }) })
    const wire = await connect()
    await wire.call('write', 'a')
    wire.send(SUBSCRIBE, 50, { key: 'board' })
    await wire.nextOf(STATE_SNAPSHOT)
    const { see, call, client } = await viewer(t, `${url}/inspector`)

    const methods = see<MethodsView>('methods', ({ rows }) => rows['method fails']?.errors === 1 && rows['method slow']!.calls === 1)
    await see<Overview>('overview', () => true)
    for (const method of ['echo', 'slow', 'fails']) await wire.call(method)
    const { rows } = await methods
    t.match(rows, { 'method slow': { calls: 1, errors: 0 }, 'method fails': { calls: 1, errors: 1 }, 'method never': { calls: 0, p99: 0 }, 'method echo': { scope: 'root' } })
    t.ok(rows['method slow']!.p99 > 25 && rows['method slow']!.p99 === rows['method slow']!.max, 'it took 30 ms')

    const { nodes, viewers } = await see<Overview>('overview', ({ nodes }) => Object.values(nodes)[0]?.refusals?.rpc?.APPLICATION === 1 && Object.values(nodes)[0]!.backends !== undefined)
    t.equal(viewers, 1)
    t.match(Object.values(nodes), [{ state: 'here', isSelf: true, pid: process.pid, connections: 1, users: 1, subscriptions: 1, backends: [{ scope: 'root', ready: true }], rss: Number, cpu: Number, delay: { p99: Number } }])

    const busy = see<ConnectionsView>('connections:', ({ rows }) => Object.values(rows).some(({ bytesIn, bytesOut }) => bytesIn > 0 && bytesOut > 0))
    const changing = see<KeysView>('keys:', ({ rows }) => rows['root|state|board']!.rate > 0)
    let isSeen = false
    void Promise.all([busy, changing]).then(() => { isSeen = true }, () => {})
    await until(async () => { await wire.call('write', `${performance.now()}`); return isSeen })
    const { count, total, rows: connections, closed } = await busy
    t.match({ count, total, closed }, { count: 1, total: 1, closed: [] })
    const [[id, row]] = Object.entries(connections) as [[string, ConnectionsView['rows'][string]]]
    t.match(row, { user: 'ann', address: '127.0.0.1', protocol: 3, subscriptions: 1, bufferedBytes: 0, tags: ['room-7'], node: String })
    t.match((await changing).rows['root|state|board'], { scope: 'root', kind: 'state', key: 'board', isLive: true, subscribers: 1, bytes: Number })
    t.match(await call('connection', { node: '', id }), { row: { id, user: 'ann' }, keys: ['board'], keyCount: 1, missing: [] })

    t.match(await see<ConnectionsView>('connections:ROOM', () => true), { count: 1, total: 1 }, 'a filter takes tags, in any case')
    t.match(await see<ConnectionsView>('connections:bob', () => true), { count: 0, total: 1, rows: {} })
    t.match(await see<KeysView>('keys:oar', () => true), { count: 1, rows: { 'root|state|board': {} } })
    t.match(await see<KeysView>('keys:nothing', () => true), { count: 0, rows: {} })

    const ended = see<ConnectionsView>('connections:', ({ closed }) => closed.length > 0)
    wire.socket.terminate()
    t.match((await ended).closed, [{ id, user: 'ann', code: 1006, reason: 'LOST' }])
    t.equal(client.getConnectionState(), 'connected')
  })

  t.test(`${entrance}: a viewer is no connection of the server`, async (t) => {
    let ds
    const { url, connect } = await start(t, async (app) => {
      await app.register(inspector)
      ds = app.ds
    }, { maxConnections: 1, authHandler: () => ({ authenticated: false }) })
    const { see } = await viewer(t, `${url}/inspector`)
    await see<Overview>('overview', () => true)
    t.match(ds!.metrics.snapshot(), { connections: 0, messagesIn: 0, messagesOut: 0, rpcCalls: 0, upgradesRefused: 0 })
    await t.rejects(connect())
    t.equal(ds!.metrics.snapshot().upgradesRefused, 1)
  })
}

t.test('inspector: hooks of the scope guard the page, its files and its WebSocket', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(async (ops) => {
    ops.addHook('onRequest', async (request, reply) => { if (request.headers.authorization !== 'Bearer ops') return await reply.code(401).send() })
    await ops.register(inspector)
  }, { prefix: '/ops' })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  for (const path of ['', '/', '/page.js', '/style.css', '/live']) t.equal((await app.inject(`/ops/inspector${path}`)).statusCode, 401, path)
  t.equal((await app.inject({ url: '/ops/inspector/', headers: { authorization: 'Bearer ops' } })).statusCode, 200)
  await t.rejects(app.injectWS('/ops/inspector/live', { headers: { authorization: 'Bearer other' } }), { message: /401/ })
  const { see } = await viewer(t, `${url}/ops/inspector`, { authorization: 'Bearer ops' })
  await see<Overview>('overview', () => true)
})

t.test('inspector: pages of other origins cannot connect', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { allowedOrigins: ['https://app.example.com'] })
  await app.register(inspector, { allowedOrigins: ['https://ops.example.com'] })
  await app.ready()
  const status = async (origin: string): Promise<string> => await app.injectWS('/inspector/live', { headers: { origin } }).then((socket) => { socket.terminate(); return 'connected' }, (error: Error) => error.message)
  t.match(await status('https://app.example.com'), /403/)
  t.equal(await status('https://ops.example.com'), 'connected')
})

t.test('inspector: keys of scopes with a backend of their own, CRDTs and sessions are told apart', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { authHandler: () => ({ authenticated: true, userId: 'ann' }) })
  await app.register(async (game) => {
    await game.register(memory)
    game.ds.primitives.live.register('arena')
    await game.ds.primitives.live.setState('arena', [1])
  })
  await app.register(inspector)
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await app.ds.primitives.state.setState('config', { secret: 1 })
  app.ds.primitives.crdt.register('likes', 'pn-counter')
  await app.ds.primitives.sessions.restore({ userId: 'ann' })
  app.ds.primitives.sessions.set('ann', 'theme', 'dark')
  await app.ds.primitives.sessions.flush('ann')
  const { see, call } = await viewer(t, `${url}/inspector`)
  const { rows } = await see<KeysView>('keys:', ({ rows }) => Object.keys(rows).length >= 3)
  t.match(Object.keys(rows).filter((id) => !id.includes('crdt')).sort(), [/\|state\|arena$/, 'root|session|ann', 'root|state|config'])
  t.equal(rows['root|state|config']!.isLive, false)
  t.match(await see<Overview>('overview', () => true), { nodes: {} })
  t.match(await call('key', { scope: 'root', kind: 'session', key: 'ann' }), { isThere: true, text: /"theme"/ })
  t.match(await call('key', { scope: 'root', kind: 'session', key: 'bob' }), { isThere: false })
  t.match(await call('key', { scope: 'nowhere', kind: 'state', key: 'x' }), { isThere: false })
})
