import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import type { RedisBackendOptions } from '../../lib/backend/redis/redis-client.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { storeNode } from '../helpers/nodes.js'
import { proxy } from '../helpers/proxy.js'
import { freePort } from '../helpers/server-process.js'
import { redisServer } from '../helpers/redis-server.js'
import { contract } from './contract.js'
import { Deletions } from './deletions.js'
import { until } from '../helpers/until.js'

const url = process.env.REDIS_URL!

type Test = Parameters<typeof storeNode>[0]

/** ms of a term, after three of which a deleted key is forgotten. */
const SHORT = 30

async function two (t: Test, options: RedisBackendOptions, term?: number): Promise<[RedisBackend, RedisBackend]> {
  const all = { keyPrefix: `${randomUUID()}:`, ...options }
  const backends: [RedisBackend, RedisBackend] = [new RedisBackend(all, term), new RedisBackend(all, term)]
  for (const backend of backends) {
    await backend.connect()
    t.teardown(() => backend.close())
  }
  return backends
}

t.test('a Redis', async (t) => { contract(t as never, (t) => two(t, { url }), { makeForgetful: (t) => two(t, { url }, SHORT) }) })

t.test('a Redis Cluster, with sharded pub/sub', async (t) => {
  const server = await redisServer(t, { args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'] })
  const admin = new Redis(server.port)
  await admin.cluster('ADDSLOTSRANGE', 0, 16383)
  await until(async () => (await admin.cluster('INFO')).includes('cluster_state:ok'))
  const redis = new Cluster([{ host: '127.0.0.1', port: server.port }], { slotsRefreshTimeout: 10_000 })
  t.teardown(() => { redis.disconnect(); admin.disconnect() })
  contract(t as never, (t) => two(t, { redis }), { makeForgetful: (t) => two(t, { redis }, SHORT) })

  t.test('what was subscribed before it was connected is heard', async (t) => {
    const backend = new RedisBackend({ redis, keyPrefix: `${randomUUID()}:` })
    const heard: unknown[] = []
    const { ready } = backend.subscribe('k', (_, value) => { heard.push(value) })
    await backend.connect()
    t.teardown(() => backend.close())
    await ready
    await backend.publish('k', 'early')
    await until(() => heard.length !== 0)
    t.strictSame(heard, ['early'])
  })

  t.test('subscriptions come back', async (t) => {
    const [a, b] = await two(t, { redis })
    const heard: unknown[] = []
    const end = b.subscribe('k', (_, value) => { heard.push(value) })
    await end.ready
    const doubted = new Promise<void>((resolve) => { b.onDoubt(resolve) })
    await admin.call('client', 'kill', 'type', 'pubsub')
    await doubted
    await a.publish('k', 'after')
    await until(() => heard.length !== 0)
    t.strictSame(heard, ['after'])
  })
})

t.test('redis: nothing stays of keys that came and went, those of older versions among them', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const admin = new Redis(url)
  t.teardown(() => { admin.disconnect() })
  const names = async (): Promise<string[]> => (await admin.keys(`${keyPrefix}*`)).map((name) => name.slice(keyPrefix.length)).sort()
  const [a, b] = await two(t, { url, keyPrefix }, SHORT)
  const deletions = new Deletions(t as never, a, b, { forgets: true, hasLog: true })
  const kept = await deletions.create('kept')
  for (let i = 0; i < 50; i++) await deletions.delete(`k${i}`, await deletions.create(`k${i}`))
  await until(async () => (await names()).length <= 5)
  t.strictSame(await names(), ['head:{kept}', 'history', 'ids:{kept}', 'live', `names:{${keyPrefix}live}`], 'the log of kept was forgotten when it became live')
  await until(async () => await admin.scard(`${keyPrefix}live`) <= 1)
  t.strictSame(await a.liveKeys(), ['kept'])

  await admin.hset(`${keyPrefix}head:{old}`, { e: 'old', v: 0, live: 0, size: 0, since: 0 })
  await admin.sadd(`${keyPrefix}live`, 'old')
  t.strictSame(await b.liveKeys(), ['kept'])
  t.strictSame(await admin.zrange(`${keyPrefix}names:{${keyPrefix}live}`, '0', '-1'), ['kept'])
  t.ok(await admin.pttl(`${keyPrefix}head:{old}`) > 0)
  t.strictSame(await admin.smembers(`${keyPrefix}live`), ['kept'])
  t.match(await b.read('kept'), { ...kept, live: true })
})

t.test('redis: a subscription that is missing is found, and made again', { timeout: 60_000 }, async (t) => {
  const server = await redisServer(t)
  const admin = new Redis(server.port)
  t.teardown(() => { admin.disconnect() })
  await admin.call('acl', 'SETUSER', 'default', 'resetchannels', '&*')
  const [a, b] = await two(t, { url: server.url })
  const heard: unknown[] = []
  await b.subscribe('k', (_, value) => { heard.push(value) }).ready
  // when it comes back it may not listen, for a while
  await admin.call('acl', 'SETUSER', 'default', '-subscribe')
  await admin.call('client', 'KILL', 'TYPE', 'pubsub')
  await until(async () => (await admin.call('acl', 'LOG') as unknown[]).some((entry) => String(entry).includes('subscribe')))
  const doubted = new Promise<void>((resolve) => { b.onDoubt(resolve) })
  await admin.call('acl', 'SETUSER', 'default', '+subscribe')
  await doubted
  await a.publish('k', 'after')
  await until(() => heard.length !== 0)
  t.strictSame(heard, ['after'])
})

t.test('an instance and options of ioredis', async (t) => {
  const { hostname: host, port } = new URL(url)
  const instance = new Redis(Number(port), host, { lazyConnect: true, db: 1 })
  const [a, b] = await two(t, { redis: instance })
  await a.set('k', 1)
  t.equal(await b.get('k'), 1)
  const [c] = await two(t, { redis: { host, port: Number(port), db: 1 } })
  await c.set('k', 2)
  t.equal(instance.status, 'wait', 'the instance itself is left alone')
  t.throws(() => new RedisBackend({ redis: new Redis({ lazyConnect: true, keyPrefix: 'mine:' }) }), { code: 'INVALID_OPTION', message: /keyPrefix/ })
  t.throws(() => new RedisBackend({ redis: instance, url }), { code: 'INVALID_OPTION', message: /redis/ })
})

t.test('redis: what cannot be used is refused in time, by name', async (t) => {
  const silent = createServer((socket) => { socket.resume() }).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => silent.close())
  const secured = await redisServer(t, { args: ['--requirepass', 'secret'] })
  const clusterOf = (port: number, redisOptions = {}): Cluster => new Cluster([{ host: '127.0.0.1', port }], { lazyConnect: true, redisOptions })
  const cluster = await redisServer(t, { args: ['--cluster-enabled', 'yes', '--requirepass', 'secret'] })
  const cases: Array<[options: RedisBackendOptions, code: string, message: RegExp]> = [
    [{ url: `redis://127.0.0.1:${await freePort()}` }, 'BACKEND_UNAVAILABLE', /option url \(redis:.*ECONNREFUSED/],
    [{ url: 'redis://no-such-host.invalid' }, 'BACKEND_UNAVAILABLE', /option url .*no-such-host/],
    [{ url: `redis://127.0.0.1:${(silent.address() as { port: number }).port}`, connectTimeoutMs: 300 }, 'BACKEND_UNAVAILABLE', /connectTimeoutMs/],
    [{ url: secured.url }, 'BACKEND_REFUSED', /option url .*NOAUTH/],
    [{ url: secured.url.replace('//', '//:wrong@') }, 'BACKEND_REFUSED', /option url .*WRONGPASS/],
    [{ url: `${url}/99` }, 'BACKEND_REFUSED', /DB index/],
    [{ redis: { host: '127.0.0.1', port: await freePort() } }, 'BACKEND_UNAVAILABLE', /option redis: .*ECONNREFUSED/],
    [{ redis: clusterOf(cluster.port) }, 'BACKEND_REFUSED', /option redis: NOAUTH/],
    [{ redis: clusterOf(cluster.port, { password: 'wrong@' }) }, 'BACKEND_REFUSED', /option redis: WRONGPASS/],
    [{ redis: clusterOf(secured.port, { password: 'secret' }) }, 'BACKEND_UNAVAILABLE', /option redis: ERR .*cluster support disabled/]
  ]
  for (const [options, code, message] of cases) {
    const error = await new RedisBackend(options).connect().then(() => undefined, (thrown: Error) => thrown)
    t.match(error, { code, message })
    t.notMatch(error?.message, /wrong@/, 'passwords are not shown')
  }
  const backend = new RedisBackend({ url: secured.url.replace('//', '//:secret@') })
  await backend.connect()
  await backend.close()
})

t.test('redis: it is used by several servers, and closed with the last', async (t) => {
  const backend = new RedisBackend({ url, keyPrefix: `${randomUUID()}:` })
  await t.rejects(backend.get('k'), { code: 'NOT_STARTED' })
  const heard: unknown[] = []
  const early = backend.subscribe('k', (_, value) => { heard.push(value) })
  const [a, b] = [await storeNode(t, { stateBackend: backend }), await storeNode(t, { stateBackend: backend })]
  await early.ready
  await backend.publish('k', { early: true })
  await until(() => heard.length !== 0)
  t.strictSame(heard, [{ early: true }], 'what was subscribed before it was connected is heard')
  await a.close()
  await b.primitives.live.setState('k', 1)
  t.equal(await b.primitives.live.getState('k'), 1)
  await b.close()
  await t.rejects(backend.get('k'), { code: 'CLOSED' })
})

t.test('redis: what is subscribed while it connects is heard', async (t) => {
  const backend = new RedisBackend({ url, keyPrefix: `${randomUUID()}:` })
  const heard = new Set<string>()
  const readies: unknown[] = []
  const seen = { isConnected: false }
  const connected = backend.connect().then(() => { seen.isConnected = true })
  t.teardown(() => backend.close())
  while (!seen.isConnected) {
    readies.push(backend.subscribe(String(readies.length), (key) => { heard.add(key) }).ready)
    await new Promise(setImmediate)
  }
  await connected
  await Promise.all(readies)
  for (const key of readies.keys()) await backend.publish(String(key), 1)
  await until(() => heard.has(String(readies.length - 1)))
  t.equal(heard.size, readies.length)
})

t.test('redis: the live keys may be more than the calls that it holds', async (t) => {
  const backend = new RedisBackend({ url, keyPrefix: `${randomUUID()}:`, maxCommands: 10 })
  await backend.connect()
  t.teardown(() => backend.close())
  const keys = Array.from({ length: 20 }, (_, i) => `k${i}`)
  for (const key of keys) {
    const { epoch } = await backend.read(key)
    await backend.commit(key, { base: { epoch, version: 0, id: '' }, commits: [{ id: key, patches: '[]' }], live: true, snapshot: { version: 1, value: '1' } })
  }
  t.strictSame((await backend.liveKeys()).sort(), keys.sort())
})

t.test('redis: more calls than it may hold are refused', async (t) => {
  const server = await redisServer(t)
  const backend = new RedisBackend({ url: server.url, maxCommands: 20, commandTimeoutMs: 2000 })
  await backend.connect()
  t.teardown(() => backend.close())
  const warnings: Error[] = []
  const warned = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', warned)
  t.teardown(() => process.off('warning', warned))
  await server.process.kill()
  const outcomes = await Promise.allSettled(Array.from({ length: 25 }, (_, i) => backend.set('k', i)))
  const codes = outcomes.map((outcome) => outcome.status === 'rejected' ? outcome.reason.code : 'fulfilled')
  t.strictSame(codes, [...Array(20).fill('BACKEND_UNAVAILABLE'), ...Array(5).fill('BUSY')])
  await t.rejects(backend.publish('k', 1), { code: 'BACKEND_UNAVAILABLE' }, 'a message is not kept for later')
  t.strictSame(warnings, [])
})

t.test('what Redis itself refuses has a code, and leaves nothing in doubt', async (t) => {
  const server = await redisServer(t)
  const admin = new Redis(server.port)
  t.teardown(() => admin.disconnect())
  const ds = await storeNode(t, { stateBackend: new RedisBackend({ url: server.url }) })
  const { live } = ds.primitives
  await live.setState('k', 1)
  await admin.config('SET', 'maxmemory', '1')
  await t.rejects(live.setState('k', 2), { code: 'BACKEND_REFUSED', message: /^Redis refused the call: OOM/, cause: { name: 'ReplyError' } })
  t.equal(await live.getState('k'), 1)
  await admin.config('SET', 'maxmemory', '0')
  await live.setState('k', 3)
  t.equal(await live.getState('k'), 3)
})

t.test('redis: a commit whose reply is lost takes effect once', async (t) => {
  const [a, b] = await two(t, { url })
  const base = await a.read('k')
  const entries = [{ id: randomUUID(), patches: '[{"op":"replace","path":"","value":1}]' }]
  const request = { base: { epoch: base.epoch, version: 0, id: '' }, commits: entries }
  await a.commit('k', request)
  t.match(await a.commit('k', request), { accepted: true, version: 1 }, 'as if it were sent again')
  const next = { base: { epoch: base.epoch, version: 1, id: entries[0]!.id }, commits: [{ id: randomUUID(), patches: '[{"op":"replace","path":"","value":2}]' }] }
  await b.commit('k', next)
  t.match(await a.commit('k', request), { accepted: true, version: 1 }, 'also when others have gone on')
  t.match(await a.read('k'), { version: 2 })
  const reset = { base: { ...next.base, version: 2, id: next.commits[0]!.id }, commits: [], reset: { epoch: randomUUID(), id: randomUUID() } }
  await a.commit('k', reset)
  t.match(await a.commit('k', reset), { accepted: true, version: 0 })
})

t.test('redis: a commit whose reply is lost is not made again in another epoch', async (t) => {
  const way = await proxy(t, Number(new URL(url).port))
  const keyPrefix = `${randomUUID()}:`
  const [a, b] = [new RedisBackend({ url: `redis://127.0.0.1:${way.port}`, keyPrefix }), new RedisBackend({ url, keyPrefix })]
  for (const backend of [a, b]) {
    await backend.connect()
    t.teardown(() => backend.close())
  }
  const { epoch } = await b.read('k')
  way.swallow('down')
  const sent = a.commit('k', { base: { epoch, version: 0, id: '' }, commits: [{ id: 'one', patches: '[]' }] })
  const refused = t.rejects(sent, { code: 'OUTCOME_UNKNOWN' })
  await until(async () => (await b.read('k')).version !== 0)
  const reset = { epoch: randomUUID(), id: randomUUID(), value: '0' }
  await b.commit('k', { base: { epoch, version: 1, id: 'one' }, commits: [], reset })
  way.cut()
  await refused
  t.match(await b.read('k'), { epoch: reset.epoch, version: 1 })
})

t.test('of what Redis has evicted in part nothing is left, and nobody asks for the rest again and again', { timeout: 60_000 }, async (t) => {
  const admin = new Redis(url)
  t.teardown(() => admin.disconnect())
  for (const kind of ['head', 'log', 'ids']) {
    const keyPrefix = `${randomUUID()}:`
    const open = (): RedisBackend => new RedisBackend({ url, keyPrefix })
    const { state } = (await storeNode(t, { stateBackend: open() })).primitives
    await state.setState('k', [1])
    for (const n of [2, 3]) await state.update('k', (list) => { (list as number[]).push(n) })
    t.equal(await admin.del(`${keyPrefix}${kind}:{state:k}`), 1)
    const late = (await storeNode(t, { stateBackend: open() })).primitives.state
    t.equal(await late.getState('k'), undefined, kind)
    await state.update('k', () => [4])
    await late.update('k', (list) => { (list as number[]).push(5) })
    t.strictSame(await (await storeNode(t, { stateBackend: open() })).primitives.state.getState('k'), [4, 5])
  }
})

t.test('redis: messages that are not ours end no process, and nothing is missed for them', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const [a, b] = [await storeNode(t, { stateBackend: new RedisBackend({ url, keyPrefix }) }), await storeNode(t, { stateBackend: new RedisBackend({ url, keyPrefix }) })]
  await a.primitives.live.setState('k', 1)
  t.equal(await b.primitives.live.getState('k'), 1)
  const client = new Redis(url)
  t.teardown(() => { client.disconnect() })
  const channels = await client.pubsub('CHANNELS', `${keyPrefix}*`) as string[]
  t.ok(channels.length >= 2, 'the bus and a key')
  for (const channel of channels) for (const text of ['', 'x', 'n', 'n1', 'n1\nnothing', 't', 'tno envelope', 'v{', 'v{}', '\uffff']) await client.publish(channel, text)
  await a.primitives.live.setState('k', 2)
  await until(async () => await b.primitives.live.getState('k') === 2)
  for (const { logs } of [a, b]) t.ok([1, 2, 3].includes(logs.filter((line) => line.includes('cannot be read')).length), 'said at most once a second')
})

t.test('what no one shares is not in Redis', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const ds = await storeNode(t, { stateBackend: new RedisBackend({ url, keyPrefix }) })
  t.equal(await ds.primitives.live.getState('never written'), undefined)
  const admin = new Redis(url)
  t.teardown(() => admin.disconnect())
  t.strictSame(await admin.keys(`${keyPrefix}*`), [`${keyPrefix}history`])
})
