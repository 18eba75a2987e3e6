import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Datasole } from '../../index.js'
import backend from '../../plugins/backend.js'
import executor from '../../plugins/executor.js'
import http from '../../plugins/http.js'
import inspector from '../../plugins/inspector.js'
import metrics, { OpenTelemetryExporter, PrometheusExporter } from '../../plugins/metrics.js'
import memory from '../../plugins/memory.js'
import postgres from '../../plugins/postgres.js'
import rateLimit from '../../plugins/rate-limit.js'
import redis from '../../plugins/redis.js'
import { type DatasoleServer, MemoryBackend } from '../../plugins/server.js'
import sessions from '../../plugins/sessions.js'

interface AppContract { rpc: { add: { params: { a: number, b: number }, result: number } } }

// What follows is compiled and never run: every line marked as an error must be one.

/** Each plugin takes its own options, on Fastify. */
export async function onFastify (app: FastifyInstance): Promise<void> {
  await app.register(memory)
  await app.register(redis, { url: 'redis://localhost', keyPrefix: 'app:' })
  await app.register(postgres, { connectionString: 'postgres://localhost', tableName: 'app' })
  await app.register(backend, { stateBackend: new MemoryBackend() })
  await app.register(rateLimit, { defaultRule: { windowMs: 1000, maxRequests: 5 }, rules: { search: { windowMs: 1000, maxRequests: 1 } } })
  await app.register(sessions, { ttlMs: 60_000, enableChangeStream: true })
  await app.register(executor, { model: 'thread-pool', poolSize: 2, workerScript: './worker.js' })
  await app.register(http, { prefix: '/api', allowPatch: ({ userId }, { key }) => userId === key, allowBroadcast: async (_connection, { event }) => event !== '', allowConnections: true, maxStreams: 5 })
  // @ts-expect-error -- there is no such option
  await app.register(http, { allowRpc: true })
  await app.register(metrics, { prefix: '/ops', exporter: new PrometheusExporter({ prefix: 'app_' }), openTelemetry: new OpenTelemetryExporter(), healthTimeoutMs: 500 })
  await app.register(inspector, { prefix: '/ops', allowActions: (request) => request.ip === '::1', allowedOrigins: ['https://a.example'], maxViewers: 3 })
  // @ts-expect-error -- a word for a decision
  await app.register(inspector, { allowActions: 'yes' })
  // @ts-expect-error -- an exporter of another kind
  await app.register(metrics, { exporter: new OpenTelemetryExporter() })
  // @ts-expect-error -- a number is no URL
  await app.register(redis, { url: 5 })
  // @ts-expect-error -- an option of Postgres
  await app.register(redis, { connectionString: 'redis://localhost' })
  // @ts-expect-error -- an option of Redis
  await app.register(postgres, { url: 'postgres://localhost' })
  // @ts-expect-error -- the backend is missing
  await app.register(backend, {})
  // @ts-expect-error -- no backend
  await app.register(backend, { stateBackend: new Map() })
  // @ts-expect-error -- the rule has no maxRequests
  await app.register(rateLimit, { defaultRule: { windowMs: 1000 } })
  // @ts-expect-error -- no such option
  await app.register(sessions, { ttl: 60_000 })
  // @ts-expect-error -- no such model
  await app.register(executor, { model: 'process' })
  // @ts-expect-error -- no such option
  await app.register(executor, { model: 'thread', threads: 5 })
  await app.register(async (game) => {
    await game.register(memory)
    game.ds.addHook('preRpc', (ctx) => { ctx.connection.tags.add('game') })
    const { live }: Datasole['primitives'] = game.ds.primitives
    live.register('arena')
  })
}

/** The same by `ds.register`, whose scopes know the contract where they are told. */
export function onStandalone (ds: DatasoleServer<AppContract>): void {
  ds.register(memory).register(redis, { url: 'redis://localhost' }).register(sessions, { flushThreshold: 1 })
  ds.register(async (game) => { await game.register(executor, { workerScript: './worker.js' }) })
  // @ts-expect-error -- the backend is missing
  ds.register(backend, {})
  // @ts-expect-error -- no such option
  ds.register(sessions, { ttl: 60_000 })
  // @ts-expect-error -- no plugin
  ds.register({})
}

t.test('the options of each plugin are typed, for right and wrong use', async (t) => {
  t.pass('it compiles')
})
