import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { resolveOptions } from '../../lib/server/config/settings.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../plugins/server.js'
import { entrances } from '../helpers/entrances.js'
import { connect } from '../helpers/wire.js'

const NUMBERS = [
  'maxConnections', 'maxConnectionsPerAddress', 'maxEventNameLength', 'authTimeoutMs', 'heartbeatMs', 'maxPayload', 'maxInflatedSize',
  'maxJsonDepth', 'rpcTimeoutMs', 'maxStateBytes', 'highWaterMark', 'maxBufferedBytes', 'maxCallsInFlight', 'maxSubscriptions', 'maxTags',
  'maxBadFrames', 'closeTimeoutMs'
]
const NOT_NUMBERS = [-1, 1.5, NaN, -Infinity, '5', null, true, {}, [], 5n, 2 ** 60]
const backend = new MemoryBackend()
const { get, set, delete: remove, subscribe, publish } = { get: async () => {}, set: async () => {}, delete: async () => false, subscribe: () => () => {}, publish: async () => {} }
const five = { get, set, delete: remove, subscribe, publish }

/** Each with what the message has to name. */
const INVALID: Array<[options: unknown, named: string | RegExp]> = [
  ...NUMBERS.flatMap((name) => NOT_NUMBERS.map((value): [unknown, string] => [{ [name]: value }, name])),
  ...['maxConnections', 'heartbeatMs', 'maxPayload', 'maxCallsInFlight'].map((name): [unknown, string] => [{ [name]: 0 }, name]),
  ...['heartbeatMs', 'authTimeoutMs', 'rpcTimeoutMs', 'closeTimeoutMs', 'maxPayload'].map((name): [unknown, string] => [{ [name]: Infinity }, name]),
  ...['authTimeoutMs', 'heartbeatMs', 'rpcTimeoutMs', 'closeTimeoutMs'].map((name): [unknown, string] => [{ [name]: 2 ** 31 }, name]),
  ...['', 'ws', '//ws', '/a?b', '/a#b', '/:id', '/*', '/a b', 5, null, {}, '/ws/', '/a//b', '/a%20b'].map((path): [unknown, string] => [{ path }, 'path']),
  ...[null, 5, 'fn', {}].map((authHandler): [unknown, string] => [{ authHandler }, 'authHandler']),
  ...[null, 5, 'log', {}].map((errorHandler): [unknown, string] => [{ errorHandler }, 'errorHandler']),
  ...[null, 'https://a.example', [5], ['a.example'], ['*'], ['nonsense:x'], {}].map((allowedOrigins): [unknown, string] => [{ allowedOrigins }, 'allowedOrigins']),
  ...[null, 1, {}, [5], 'nonsense', ['10.0.0.0/99']].map((trustProxy): [unknown, string] => [{ trustProxy }, 'trustProxy']),
  ...[null, 5, {}, { ...five, publish: undefined }, { ...five, get: 'get' }].map((stateBackend): [unknown, string] => [{ stateBackend }, 'stateBackend']),
  [{ stateBackend: { ...five, commit: async () => {} } }, /stateBackend.*commit.*read.*liveKeys/],
  [{ stateBackend: backend, backendConfig: { type: 'memory' } }, /backendConfig.*stateBackend/],
  ...[null, 'memory', {}, { type: 'sqlite' }, { type: 5 }, { type: 'memory', redis: 'redis://localhost' }, { type: 'redis', postgres: null }, { type: 'redis', redis: 'redis://localhost' }, { type: 'memory', memory: {} }, { type: 'redis', url: 'redis://localhost' }].map((backendConfig): [unknown, string] => [{ backendConfig }, 'backendConfig']),
  [{ backendConfig: { type: 'redis', redis: { url: 'http://localhost' } } }, 'url'],
  [{ backendConfig: { type: 'redis', redis: { uri: 'redis://localhost' } } }, 'uri'],
  [{ backendConfig: { type: 'redis', redis: { prefix: 'a', keyPrefix: 'b' } } }, 'prefix'],
  [{ backendConfig: { type: 'redis', redis: { keyPrefix: '{a}' } } }, 'keyPrefix'],
  [{ backendConfig: { type: 'redis', redis: { maxCommands: 0 } } }, 'maxCommands'],
  [{ backendConfig: { type: 'postgres', postgres: { connectionString: 'localhost' } } }, 'connectionString'],
  [{ backendConfig: { type: 'postgres', postgres: { tableName: 'a"; DROP TABLE users' } } }, 'tableName'],
  [{ backendConfig: { type: 'postgres', postgres: { table: 'a' } } }, 'table'],
  [{ backendConfig: { type: 'postgres', postgres: { unlogged: 'yes' } } }, 'unlogged'],
  ...[null, 5, 'async', [], { model: 'fork' }, { model: 'async', poolsize: 3 }, { model: 'thread', maxThreads: 0 }, { model: 'thread-pool', poolSize: 2.5 }, { poolSize: '2' }, { model: 'thread', idleTimeout: 0 }, { model: 'thread', maxOldGenerationSizeMb: 1 }, { model: 'thread', maxQueue: 0 }, { model: 'thread', maxQueuePerConnection: 0 }, { model: 'thread', queueTimeoutMs: 2 ** 31 }, { model: 'thread', stuckTimeoutMs: 0 }, { model: 'thread', workerScript: '' }, { model: 'thread', execArgv: '--x' }, { model: 'thread', execArgv: [1] }, { model: 'thread', workerScript: 5 }, { model: 'thread', workerScript: new URL('https://example.com/a.js') }, { workerScript: 'a.js' }].map((executor): [unknown, string] => [{ executor }, 'executor']),
  ...[null, true, 5, 'none', [], { windowMs: 1 }, { defaultRule: null }, { defaultRule: { windowMs: 0, maxRequests: 1 } }, { defaultRule: { windowMs: 1 } }, { defaultRule: { windowMs: 1, maxRequests: -1 } }, { rules: [] }, { rules: { a: { windowMs: 1.5, maxRequests: 1 } } }, { rules: { a: null } }, { defaultRule: { windowMs: 1, maxRequests: 1_000_001 } }, { keyExtractor: 'user' }, { onBackendError: 'panic' }, { timeoutMs: 0 }].map((rateLimit): [unknown, string] => [{ rateLimit }, 'rateLimit']),
  ...[null, true, 5, [], { ttl: 1 }, { flushThreshold: 0 }, { flushThreshold: '1' }, { flushIntervalMs: 0 }, { flushIntervalMs: 2 ** 31 }, { flushIntervalMs: null }, { ttlMs: 0 }, { ttlMs: Infinity }, { ttlMs: null }, { enableChangeStream: 1 }].map((session): [unknown, string] => [{ session }, 'session']),
  ...[null, true, 5, { threshold: -1 }, { threshold: '1' }, { level: 9 }].map((compression): [unknown, string] => [{ compression }, 'compression']),
  ...[null, 5, {}, { info: () => {} }].map((logger): [unknown, string] => [{ logger }, 'logger']),
  ...['maxConnection', 'origins', 'perMessageDeflate', 'prefix', 'constructor'].map((name): [unknown, string] => [{ [name]: 1 }, name]),
  [JSON.parse('{"__proto__":1}'), '__proto__'],
  ...[5, {}, { check () {}, consume () {} }, { check () {}, consume () {}, reset () {}, close: 1 }].map((rateLimiter): [unknown, string] => [{ rateLimiter }, 'rateLimiter']),
  [null, 'options'], ['/ws', 'options'], [[], 'options']
]

t.test('an option that is wrong throws at construction, and the message names it', async (t) => {
  for (const [options, named] of INVALID) {
    const error = { code: 'INVALID_OPTION', message: typeof named === 'string' ? new RegExp(`option ${named}`) : named }
    const shown = typeof options === 'object' && options !== null ? `${Object.keys(options).join()} ${String(Object.values(options)[0])}` : String(options)
    t.throws(() => new DatasoleServer(options as DatasoleServerOptions), error, shown)
    if (options === null || typeof options !== 'object' || Array.isArray(options)) continue
    const app = Fastify()
    await t.rejects(async () => { await app.register(datasole, options as DatasoleServerOptions) }, error)
    await app.close()
  }
})

t.test('options: what is left out, or undefined, has its default', async (t) => {
  const defaults = {
    path: '/__ds',
    maxConnections: 10_000,
    maxConnectionsPerAddress: Infinity,
    maxCrdtKeys: 1000,
    maxEventNameLength: 256,
    authTimeoutMs: 10_000,
    heartbeatMs: 25_000,
    maxPayload: 1_048_576,
    maxInflatedSize: 16_777_216,
    maxJsonDepth: 128,
    rpcTimeoutMs: 30_000,
    maxStateBytes: 16_777_216,
    highWaterMark: 262_144,
    maxBufferedBytes: 4_194_304,
    maxCallsInFlight: 100,
    maxSubscriptions: 1000,
    maxTags: 1000,
    maxBadFrames: 10,
    compressionThreshold: 1024,
    closeTimeoutMs: 5000,
    rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 100 }, onBackendError: 'local', timeoutMs: 1000 },
    rateLimiter: undefined
  }
  t.match(resolveOptions({}), defaults)
  const undefineds = Object.fromEntries([...NUMBERS, 'path', 'authHandler', 'stateBackend', 'backendConfig', 'executor', 'rateLimit', 'allowedOrigins', 'compression', 'logger', 'session', 'rateLimiter'].map((name) => [name, undefined]))
  t.match(resolveOptions(undefineds), defaults)
  await new DatasoleServer(undefineds).close()
})

t.test('options: what is documented is taken', async (t) => {
  for (const options of [
    { backendConfig: { type: 'memory' } }, { backendConfig: { type: 'memory', redis: { url: 'redis://localhost' }, postgres: {} } }, { backendConfig: { type: 'redis', redis: {}, postgres: {} } }, { stateBackend: five }, { stateBackend: backend }, { executor: { model: 'async' } }, { executor: {} }, { executor: { model: 'thread' } }, { executor: { model: 'thread-pool', poolSize: 2, workerScript: 'file:///a.js' } },
    { rateLimiter: { check () {}, consume () {}, reset () {} } }, { rateLimit: false }, { rateLimit: {} }, { rateLimit: { rules: { a: { windowMs: 1, maxRequests: 0 } } } }, { rateLimit: { defaultRule: { windowMs: 1, maxRequests: 1_000_000 } } }, { compression: false }, { compression: {} }, { compression: { threshold: 0 } },
    { maxConnections: Infinity }, { rpcTimeoutMs: 0 }, { closeTimeoutMs: 0 }, { maxBadFrames: 0 }, { path: '/' }, { path: '/a/b.c-d~e' }, { allowedOrigins: [] }, { allowedOrigins: ['null', 'capacitor://localhost'] }, { trustProxy: true }, { trustProxy: '10.0.0.0/8, loopback' }, { trustProxy: ['10.0.0.1'] }, { trustProxy: () => true }
  ] as DatasoleServerOptions[]) {
    t.ok(resolveOptions(options), JSON.stringify(Object.keys(options)))
  }
})

t.test('options: the caller\'s objects are read once', async (t) => {
  const rule = { windowMs: 1000, maxRequests: 5 }
  const settings = resolveOptions({ rateLimit: { defaultRule: rule } })
  rule.maxRequests = 1
  t.match(settings.rateLimit, { defaultRule: { maxRequests: 5 } })
})

for (const [entrance, start] of entrances) {
  t.test(`options, ${entrance}`, async (t) => {
    t.test('path', async (t) => {
      for (const path of ['/', '/ws', '/a/b', '/a.b~c', '/a@b', '/a(b)', '/a;b=1', '/$x!']) {
        const { connect } = await start(t, { path })
        const wire = await connect()
        t.same((await wire.call('echo', path)).result, path)
        await wire.close()
      }
    })

    t.test('compression', async (t) => {
      for (const [compression, expected] of [[undefined, true], [false, false], [{ threshold: 100_000 }, false], [{ threshold: 0 }, true]] as const) {
        const { url } = await start(t, { compression })
        const wire = await connect(url)
        wire.send(Opcode.RPC_REQ, 1, { method: 'echo', params: 'x'.repeat(2000), correlationId: 1 })
        t.equal((await wire.waitFor(({ id }) => id === 1)).deflated, expected)
        await wire.close()
      }
    })

    t.test('a backend with the five methods only', async (t) => {
      const stored = new Map<string, string>()
      const handlers = new Map<string, Set<(key: string, value: unknown) => void>>()
      const { ds, connect } = await start(t, {
        stateBackend: {
          get: async (key) => JSON.parse(stored.get(key) ?? 'null') ?? undefined,
          set: async (key, value) => { stored.set(key, JSON.stringify(value)) },
          delete: async (key) => stored.delete(key),
          subscribe (key, handler) {
            handlers.set(key, (handlers.get(key) ?? new Set()).add(handler))
            return () => { handlers.get(key)?.delete(handler) }
          },
          publish: async (key, value) => { for (const handler of handlers.get(key) ?? []) handler(key, value) }
        }
      })
      const wire = await connect()
      await ds.primitives.live.setState('k', { a: 1 })
      t.match((await wire.ask(Opcode.SUBSCRIBE, { key: 'k' })).payload, { version: 1, data: { a: 1 } })
      await ds.primitives.live.update('k', (draft) => { (draft as { a: number }).a = 2 })
      t.match((await wire.nextOf(Opcode.STATE_PATCH)).payload, { from: 1, version: 2 })
    })
  })
}
