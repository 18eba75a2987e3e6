import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import findMyWay from 'find-my-way'
import type { WebSocket } from 'ws'
import { NotAdmitted } from '../lib/server/admissions.js'
import { ABNORMAL, type Arrival } from '../lib/server/arrivals.js'
import { authenticate, isAllowedOrigin, redactUrl } from '../lib/server/auth.js'
import type { ConnectionContext } from '../lib/server/connection-context.js'
import type { Core } from '../lib/server/core.js'
import { Lease } from '../lib/server/leases.js'
import type { AuthHandlerFn as AuthHandler, DatasoleServerOptions as ServerOptions } from '../lib/server/options.js'
import { refuseUpgrade } from '../lib/server/refuse-upgrade.js'
import { CloseCode } from '../lib/protocol/codes.js'
import { HEADER_SIZE } from '../lib/protocol/frame.js'
import { SUBPROTOCOL } from '../lib/protocol/opcodes.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** @internal The connection that an upgrade is about to become. */
    datasoleAdmission: Admission | null
  }
}

export type AuthHandlerFn = AuthHandler<FastifyRequest>

/** Every option has a default; an unknown name or a wrong value throws at construction, naming the option. */
export type DatasoleServerOptions = ServerOptions<FastifyRequest>

interface Admission {
  context: ConnectionContext
  lease: Lease | undefined
  arrival: Arrival
  /** The upgrade is done: lets go of request and reply, which would else live, headers and all, as long as the socket. */
  settled: () => void
}

/** How a request is logged where its URL may have a token in it. */
const WITHOUT_TOKEN = { req: (req: FastifyRequest) => ({ method: req.method, url: redactUrl(req.url), host: req.host, remoteAddress: req.ip }) }

/** Hands an upgrade to Fastify's router; false where no websocket route is meant. */
export type UpgradeRouter = (req: IncomingMessage, socket: Duplex, head: Buffer) => boolean

/**
 * The websocket route: limits, then origin, then authentication, then `core.accept`. Refusals are
 * replies, never throws, so that no log line holds the request's URL with its token.
 */
export async function connections (app: FastifyInstance, core: Core): Promise<UpgradeRouter> {
  const { settings, metrics } = core
  const route = await routerOf(app, core)
  const slots = new Slots(settings.maxConnections, settings.maxConnectionsPerAddress)

  const refuse = (reply: FastifyReply, status: number, error: string): FastifyReply => {
    metrics.upgradesRefused++
    return reply.code(status).header('connection', 'close').send({ statusCode: status, error })
  }

  // runs after core.drain
  app.addHook('preClose', async () => { slots.destroy() })

  app.decorateRequest('datasoleAdmission', null)
  app.route({
    method: 'GET',
    url: settings.path,
    websocket: true,
    logSerializers: WITHOUT_TOKEN,
    onRequest: async (request, reply) => {
      if (!request.ws) return
      if (core.rpc.isDraining) return refuse(reply, 503, 'the server is going away')
      if (!slots.take(request.raw.socket, request.ip)) return refuse(reply, 503, 'too many connections')
      let isAllowed
      try {
        isAllowed = isAllowedOrigin(settings.allowedOrigins, request.raw)
      } catch (error) {
        core.log.error({ err: error }, 'the function allowedOrigins failed')
        return refuse(reply, 500, 'the origin cannot be checked')
      }
      if (!isAllowed) {
        core.log.warn({ origin: request.headers.origin, host: request.headers.host }, 'a page of another origin was refused; to allow it, add the origin to the option allowedOrigins')
        return refuse(reply, 403, 'origin not allowed')
      }
    },
    preValidation: async (request, reply) => {
      if (!request.ws) return
      const protocol = offers(request.raw, SUBPROTOCOL) ? 2 : 1
      const { socket } = request.raw
      const arrival = core.arrivals.begin()
      // refusals close the socket too; and there may be nothing left to come
      if (socket.destroyed) arrival.end()
      else socket.once('close', arrival.end)
      let auth
      try {
        auth = await authenticate(settings, request.raw, request.ip, request)
      } catch (error) {
        core.log.error({ err: error }, 'the authHandler failed')
        return refuse(reply, 500, 'authentication failed')
      }
      if (!auth.authenticated) return refuse(reply, 401, 'not authenticated')
      if (socket.destroyed) return reply.hijack()
      const lease = Lease.of(auth, request.raw)
      let context: ConnectionContext
      try {
        context = await core.admissions.admit({ auth, remoteAddress: request.ip, protocol })
      } catch (error) {
        if (error instanceof NotAdmitted) return error.isFinal ? refuse(reply, 403, 'connection refused') : refuse(reply, 503, 'connection failed')
        core.log.error({ err: error }, 'an onConnect hook hangs')
        return refuse(reply, 500, 'connection failed')
      }
      // one that goes before it has become a connection was admitted all the same
      const gone = (): void => { core.admissions.departed(context, ABNORMAL) }
      if (socket.destroyed || core.rpc.isDraining) {
        gone()
        return socket.destroyed ? reply.hijack() : refuse(reply, 503, 'the server is going away')
      }
      socket.once('close', gone)
      request.datasoleAdmission = {
        context,
        lease,
        arrival,
        settled: () => {
          socket.off('close', gone)
          socket.off('close', arrival.end)
          arrival.end()
          reply.raw.detachSocket(socket)
        }
      }
      selectSubprotocol(request.raw, protocol)
    },
    handler: (webSocket: unknown, request: unknown) => {
      const { raw, datasoleAdmission } = request as FastifyRequest
      const { context, lease, arrival, settled } = datasoleAdmission!
      const socket = webSocket as WebSocket
      settled()
      // core.drain closes it, and nobody else: an application's own registration would, earlier and without a code
      app.websocketServer.clients.delete(socket)
      // the websocket plugin's listener holds request and reply too; accept puts its own in its place
      socket.removeAllListeners('error')
      const connection = core.accept(socket, raw.socket, context, lease)
      const ending = arrival.endingOf(context.userId)
      if (ending !== undefined) connection.close(ending.code, ending.reason)
    }
  } as Parameters<FastifyInstance['route']>[0])

  return route
}

/** The sockets of connections, and of those that are still to be authenticated. */
class Slots {
  readonly #sockets = new Set<Duplex>()
  readonly #byAddress = new Map<string, number>()

  constructor (readonly limit: number, readonly limitPerAddress: number) {}

  /** Given back when the socket closes, whatever becomes of the upgrade. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#sockets.size >= this.limit || ofAddress >= this.limitPerAddress || socket.destroyed) return false
    this.#sockets.add(socket)
    this.#byAddress.set(address, ofAddress + 1)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = this.#byAddress.get(address)! - 1
      if (left === 0) this.#byAddress.delete(address)
      else this.#byAddress.set(address, left)
    })
    return true
  }

  /** Cuts off whoever still waits to be authenticated while the server closes. */
  destroy (): void {
    for (const socket of this.#sockets) socket.destroy()
  }
}

/**
 * Registers @fastify/websocket with a stub for its server, which gets the upgrades that are meant for
 * routes of Fastify, and no others: on the real server it would answer every neighbour's too. Where the
 * application has registered it before, that registration is shared.
 */
async function routerOf (app: FastifyInstance, { settings, rpc }: Core): Promise<UpgradeRouter> {
  if (app.hasDecorator('websocketServer')) return () => false
  const stub = new EventEmitter()
  // as lenient as Fastify's own router, so that it finds what this one finds
  const { ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive } = { ...app.initialConfig, ...app.initialConfig.routerOptions }
  const routes = findMyWay({ ignoreTrailingSlash, ignoreDuplicateSlashes, caseSensitive })
  app.addHook('onRoute', ({ url, method, websocket, wsHandler }) => {
    const isWebSocket = Boolean(websocket ?? false) || wsHandler !== undefined
    if (isWebSocket && [method].flat().includes('GET') && !routes.hasRoute('GET', url)) routes.on('GET', url, () => {})
  })
  await app.register(websocket, {
    options: { server: stub as never, maxPayload: settings.maxPayload + HEADER_SIZE },
    // what a socket reports is logged and counted where it is accepted
    errorHandler: () => {},
    // ours have been closed by core.drain; these belong to other routes of the application
    preClose: (done) => {
      for (const client of app.websocketServer.clients) client.close(CloseCode.GOING_AWAY)
      app.websocketServer.close(() => {})
      done()
    }
  })
  return (req, socket, head) => {
    const { method, url = '' } = req
    const end = url.indexOf('?')
    if (method !== 'GET' || routes.find('GET', end < 0 ? url : url.slice(0, end)) === null) return false
    // Fastify itself would answer, and leave the socket open
    if (rpc.isDraining) refuseUpgrade(socket, '503 Service Unavailable')
    else stub.emit('upgrade', req, socket, head)
    return true
  }
}

function offers (req: IncomingMessage, subprotocol: string): boolean {
  return (req.headers['sec-websocket-protocol'] ?? '').split(',').some((offer) => offer.trim() === subprotocol)
}

/** Of what was offered only our subprotocol may be selected, never a token; and no extension, so no deflate. */
function selectSubprotocol ({ headers }: IncomingMessage, protocol: 1 | 2): void {
  if (protocol === 2) headers['sec-websocket-protocol'] = SUBPROTOCOL
  else delete headers['sec-websocket-protocol']
  delete headers['sec-websocket-extensions']
}
