import { randomUUID } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteShorthandOptions } from 'fastify'
import { redactUrl } from '../lib/server/auth/authenticate.js'
import { TIMER, integer, invalid } from '../lib/server/config/checks.js'
import { callMethod, jsonTextOf } from '../lib/server/http/call-method.js'
import { Callers } from '../lib/server/http/callers.js'
import { EntityTags, entityTagOf, parsePosition, waitOf } from '../lib/server/http/entity-tags.js'
import { Exchange } from '../lib/server/http/exchange.js'
import type { HttpRequest } from '../lib/server/http/http-connection.js'
import { HttpRefusal } from '../lib/server/http/http-refusal.js'
import { type Query, broadcast, disconnect, listConnections } from '../lib/server/http/operator-acts.js'
import { patchState } from '../lib/server/http/patch-state.js'
import { type Permission, checkPermission, countRequest, requirePermission } from '../lib/server/http/permissions.js'
import { readState } from '../lib/server/http/read-state.js'
import { SCHEMAS } from '../lib/server/http/route-schemas.js'
import { StateEvents } from '../lib/server/http/state-events.js'
import { HTTP } from '../lib/server/scope/services.js'
import { type Inside, define } from './define.js'

export type { Query } from '../lib/server/http/operator-acts.js'
export type { Permission } from '../lib/server/http/permissions.js'

/** Options of the plugin `datasole/http`. */
export interface HttpPluginOptions {
  /** Path prefix of the routes, after the prefix of the scope. Default none. */
  prefix?: string
  /** Whether `PATCH` may change a key that clients cannot push to. Default false. */
  allowPatch?: Permission<{ key: string }>
  /** Whether `POST /events/:event` may send an event to clients. Default false. */
  allowBroadcast?: Permission<{ event: string }>
  /** Whether `GET /connections` may list connections. Default false. */
  allowConnections?: Permission<{ query: Query }>
  /** Whether `DELETE /connections` may close connections. Default false. */
  allowDisconnect?: Permission<{ query: Query }>
  /** Maximum number of open streams and long polls. Default 1,000. */
  maxStreams?: number
  /** Maximum number of open streams and long polls per user, or per address without a user. Default 100. */
  maxStreamsPerUser?: number
  /** Maximum duration of a long poll in ms. Default 60,000. */
  maxWaitMs?: number
  /** Timeout in ms for hooks and the backend to read a key. Default 10,000. */
  readTimeoutMs?: number
}

type Request = FastifyRequest<{ Params: { key: string, method: string, event: string }, Querystring: Query, Body: Buffer | undefined }>

/** A valid path prefix of routes. */
const PATH = /^(\/[^/?#*:]+)*$/

const OPTIONS = ['prefix', 'allowPatch', 'allowBroadcast', 'allowConnections', 'allowDisconnect', 'maxStreams', 'maxStreamsPerUser', 'maxWaitMs', 'readTimeoutMs']

/** The log form of a request, without a token in its URL. */
const WITHOUT_TOKEN = { req: (req: FastifyRequest) => ({ method: req.method, url: redactUrl(req.url), host: req.host, remoteAddress: req.ip }) }

/** Fastify must not validate or serialize: requests are checked like WebSocket frames, and answers are JSON already. */
const UNCHECKED = { validatorCompiler: () => () => true, serializerCompiler: () => (data: unknown) => JSON.stringify(data), logSerializers: WITHOUT_TOKEN } as const

const JSON_TYPE = 'application/json; charset=utf-8'
const PATCH_TYPE = 'application/json-patch+json'

/**
 * Serves state, methods, events and connections over plain HTTP. The routes belong to the scope, with the scope's hooks.
 * @throws DatasoleError `DUPLICATE_REGISTRATION`, `INVALID_OPTION`
 */
export default define<HttpPluginOptions>('datasole/http', async (inside, options) => {
  const { app, core, scope, plugin } = inside
  const { prefix = '', maxStreams = 1000, maxStreamsPerUser = 100, maxWaitMs = 60_000, readTimeoutMs = 10_000, allowPatch = false, allowBroadcast = false, allowConnections = false, allowDisconnect = false } = options
  if (typeof prefix !== 'string' || !PATH.test(prefix)) throw invalid('prefix', `of ${plugin} must be a path such as "/api", not ${JSON.stringify(prefix)}`)
  integer('maxStreams', maxStreams, 0, Infinity)
  integer('maxStreamsPerUser', maxStreamsPerUser, 0, Infinity)
  integer('maxWaitMs', maxWaitMs, 0, TIMER)
  integer('readTimeoutMs', readTimeoutMs, 1, TIMER)
  for (const name of Object.keys(options)) if (!OPTIONS.includes(name)) throw invalid(name, `is not an option of ${plugin}`)
  for (const [name, permission] of Object.entries({ allowPatch, allowBroadcast, allowConnections, allowDisconnect })) checkPermission(name, permission as boolean)
  scope.provide(HTTP, {}, plugin)
  const resolved = { prefix, maxStreams, maxStreamsPerUser, maxWaitMs, readTimeoutMs, allowPatch, allowBroadcast, allowConnections, allowDisconnect }
  // a child instance, so that the parsers apply only to these routes
  await app.register(async (instance) => { addRoutes(instance, inside, resolved) }, { prefix })
  for (const route of ['state', 'rpc', 'events']) core.routes.addTree(`${app.prefix}${prefix}/${route}/`)
  core.routes.add(`${app.prefix}${prefix}/connections`)
})

function addRoutes (app: FastifyInstance, { core, scope, app: { ds } }: Inside, options: Required<HttpPluginOptions>): void {
  const { settings } = core
  const callers = new Callers(settings, options.maxStreams, options.maxStreamsPerUser)

  app.removeAllContentTypeParsers()
  const raw = { parseAs: 'buffer', bodyLimit: settings.maxPayload } as const
  app.addContentTypeParser(['application/json', PATCH_TYPE], raw, (_request, body, done) => { done(null, body) })
  app.setErrorHandler(async (error: Error & { code?: string, statusCode?: number }, _request, reply) => {
    const refusal = error instanceof HttpRefusal ? error : ofBody(error)
    // the scope's own error handler gets any other error
    if (refusal === undefined) throw error
    if (refusal.retryAfter !== undefined) reply.header('retry-after', Math.ceil(refusal.retryAfter / 1000))
    return await reply.code(refusal.status).type(JSON_TYPE).header('cache-control', 'no-store').send(Buffer.from(JSON.stringify(refusal.body)))
  })

  /** Logs an error that is not meant for the client. The client gets only an id, which is in the log line. */
  const refusalFor = (error: unknown): HttpRefusal => {
    const known = HttpRefusal.from(error)
    if (known !== undefined) return known
    const id = randomUUID()
    core.log.error({ err: error, id }, 'a request could not be handled')
    return HttpRefusal.of('INTERNAL', `internal error (${id})`)
  }

  /** Runs a route with a connection that ends with the request. */
  const exchanging = (handle: (exchange: Exchange, request: Request, reply: FastifyReply) => Promise<FastifyReply>) => async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const exchange = await Exchange.open(core, callers, asHttp(request, reply))
    try {
      return await handle(exchange, request as Request, reply)
    } catch (error) {
      throw refusalFor(error)
    } finally {
      exchange.http.leave()
    }
  }

  /** Checks an operator's action, which clients cannot do: applies the rate limit, then asks for the permission. */
  const act = async <About>(exchange: Exchange, name: string, option: keyof HttpPluginOptions, about: About): Promise<void> => {
    await exchange.during(countRequest(core, scope, exchange.http.connection, name))
    await exchange.during(requirePermission(options[option] as Permission<About>, exchange.http.connection, about, option))
  }

  const read = exchanging(async (exchange, { params: { key }, headers }, reply) => {
    const asked = headers['if-none-match']
    const wait = asked === undefined ? undefined : waitOf(headers.prefer as string | undefined, options.maxWaitMs)
    const release = wait === undefined ? undefined : callers.wait(exchange.http.connection)
    try {
      const { tag, json } = await readState(exchange, core.keyspace.subscriptions, { key, known: asked === undefined ? undefined : new EntityTags(asked), waitMs: wait ?? 0, timeoutMs: options.readTimeoutMs })
      if (wait !== undefined) reply.header('preference-applied', `wait=${wait / 1000}`)
      reply.headers({ etag: tag, 'cache-control': 'no-cache', vary: 'accept' })
      return json === undefined ? await reply.code(304).send() : await reply.type(JSON_TYPE).send(Buffer.from(json))
    } finally {
      release?.()
    }
  })

  app.get('/state/:key', { ...UNCHECKED, schema: SCHEMAS.read, exposeHeadRoute: true } as RouteShorthandOptions, async (request, reply) => {
    if (request.method === 'HEAD' || !/\btext\/event-stream\b/i.test(request.headers.accept ?? '')) return await read(request, reply)
    const since = parsePosition(String(request.headers['last-event-id'] ?? ''))
    const stream = await StateEvents.open(core, callers, asHttp(request, reply), (request as Request).params.key, since, options.readTimeoutMs).catch((error: unknown) => { throw refusalFor(error) })
    // tell proxies not to buffer events
    return await reply.headers({ 'content-type': 'text/event-stream', 'cache-control': 'no-cache, no-transform', vary: 'accept', 'x-accel-buffering': 'no' }).send(stream)
  })

  app.patch('/state/:key', { ...UNCHECKED, schema: SCHEMAS.patch } as RouteShorthandOptions, exchanging(async (exchange, request, reply) => {
    const { params: { key }, headers, body = Buffer.alloc(0) } = request
    requireType(headers['content-type'], PATCH_TYPE)
    // a value is two levels deeper: inside an operation, inside a list
    const patches = jsonTextOf(body, settings.maxJsonDepth + 2)
    const expected = headers['if-match'] === undefined ? undefined : new EntityTags(headers['if-match'])
    const head = await patchState(core, exchange, { key, patches, expected, allow: options.allowPatch })
    return await reply.code(204).headers({ etag: entityTagOf(head), 'cache-control': 'no-store' }).send()
  }))

  app.post('/rpc/:method', { ...UNCHECKED, schema: SCHEMAS.call } as RouteShorthandOptions, exchanging(async (exchange, { params: { method }, body, headers }, reply) => {
    const hasParams = body !== undefined && body.length > 0
    if (hasParams) requireType(headers['content-type'], 'application/json')
    const params = hasParams ? jsonTextOf(body, settings.maxJsonDepth) : undefined
    const traceparent = headers.traceparent as string | undefined
    const result = await callMethod(exchange, { method, params, traceparent })
    return await reply.type(JSON_TYPE).header('cache-control', 'no-store').send(Buffer.from(JSON.stringify({ result })))
  }))

  app.post('/events/:event', { ...UNCHECKED, schema: SCHEMAS.broadcast } as RouteShorthandOptions, exchanging(async (exchange, { params: { event }, headers, body = Buffer.alloc(0) }, reply) => {
    requireType(headers['content-type'], 'application/json')
    await act(exchange, event, 'allowBroadcast', { event })
    broadcast(core, scope, event, JSON.parse(jsonTextOf(body, settings.maxJsonDepth + 1)))
    return await reply.code(204).header('cache-control', 'no-store').send()
  }))

  app.get('/connections', { ...UNCHECKED, schema: SCHEMAS.connections, exposeHeadRoute: false } as RouteShorthandOptions, exchanging(async (exchange, { query }, reply) => {
    await act(exchange, '$connections', 'allowConnections', { query })
    exchange.http.leave()
    return await reply.header('cache-control', 'no-store').send(await listConnections(ds.connections, query))
  }))

  app.delete('/connections', { ...UNCHECKED, schema: SCHEMAS.disconnect } as RouteShorthandOptions, exchanging(async (exchange, { query }, reply) => {
    await act(exchange, '$connections', 'allowDisconnect', { query })
    exchange.http.leave()
    return await reply.header('cache-control', 'no-store').send(await disconnect(ds.connections, query))
  }))
}

function asHttp (request: FastifyRequest, reply: FastifyReply): HttpRequest {
  return { raw: request.raw, ip: request.ip, host: request.host, request, response: reply.raw }
}

/** @throws HttpRefusal 415 */
function requireType (header: string | undefined, type: string): void {
  if (header?.split(';')[0]!.trim().toLowerCase() !== type) throw HttpRefusal.because(415, 'UNSUPPORTED_MEDIA_TYPE', `the content type must be ${type}`)
}

/** The refusal for a body that Fastify does not accept: of another type, or too large. */
function ofBody ({ code = '', statusCode = 400, message }: { code?: string, statusCode?: number, message: string }): HttpRefusal | undefined {
  if (!code.startsWith('FST_ERR_CTP_')) return undefined
  const known = { 413: 'PAYLOAD_TOO_LARGE', 415: 'UNSUPPORTED_MEDIA_TYPE' }[statusCode]
  return HttpRefusal.because(statusCode, known ?? 'BAD_FRAME', message)
}
