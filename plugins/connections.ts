import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { admit } from '../lib/server/auth/admission.js'
import { ABNORMAL, type PendingUpgrade } from '../lib/server/auth/pending-upgrades.js'
import { redactUrl } from '../lib/server/auth/authenticate.js'
import type { Connection } from '../lib/server/connection/connection.js'
import type { ConnectionContext } from '../lib/server/context/connection-context.js'
import type { Core } from '../lib/server/core.js'
import type { AuthExpiry } from '../lib/server/auth/token-refresh.js'
import { isAllowedOrigin } from '../lib/server/config/origins.js'
import type { AuthHandlerFn as AuthHandler, DatasoleServerOptions as ServerOptions } from '../lib/server/config/server-options.js'
import { type ProtocolVersion, SUBPROTOCOLS } from '../lib/protocol/opcodes.js'
import { CloseCode } from '../lib/protocol/codes.js'
import { versionRefusal } from '../lib/server/contract/contract-version.js'
import { until } from '../lib/server/lifecycle/until.js'
import { closeInWaves } from '../lib/server/lifecycle/waves.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** @internal The connection that an upgrade is about to become. */
    datasoleAdmission: Admission | null
  }
}

/** The option `authHandler`, with Fastify's request. */
export type AuthHandlerFn = AuthHandler<FastifyRequest>

/** Every option has a default; an unknown name or a wrong value throws at construction, naming the option. */
export type DatasoleServerOptions = ServerOptions<FastifyRequest>

interface Admission {
  context: ConnectionContext
  lease: AuthExpiry | undefined
  arrival: PendingUpgrade
  /** The upgrade is done: lets go of request and reply, which would else live, headers and all, as long as the socket. */
  settled: () => void
}

/** How a request is logged where its URL may have a token in it. */
const WITHOUT_TOKEN = { req: (req: FastifyRequest) => ({ method: req.method, url: redactUrl(req.url), host: req.host, remoteAddress: req.ip }) }

const PLAIN_REQUEST = 'a plain request came for the path of the WebSocket. Where it was meant to be an upgrade, a proxy has dropped that: it has to speak HTTP/1.1 to this server, and pass on the headers Upgrade and Connection (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"). This is logged once'

/**
 * The websocket route: limits, then origin, then authentication, then `core.accept`. Refusals are
 * replies, never throws, so that no log line holds the request's URL with its token.
 * @returns ends what came by some sockets: connections when their calls are done, the others at once
 */
export function connections (app: FastifyInstance, core: Core): (upgrades: ReadonlySet<Duplex>, requests: Pick<WeakSet<Duplex>, 'has'>) => Promise<void> {
  const { settings, metrics } = core
  const slots = new Slots(settings.maxConnections, settings.maxConnectionsPerAddress)

  const refuse = (reply: FastifyReply, status: number, error: string): FastifyReply => {
    metrics.upgradesRefused++
    metrics.refused('upgrade', error)
    return reply.code(status).header('connection', 'close').send({ statusCode: status, error })
  }

  let wasTold = false
  /** Of a plain request nothing says whether it was meant to be an upgrade, so the log says once what a proxy may have dropped. */
  const upgradeRequired = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    if (!wasTold) {
      wasTold = true
      core.log.warn({ path: settings.path, remoteAddress: request.ip, lacks: ['upgrade', 'connection'].filter((name) => !/websocket|upgrade/i.test(String(request.headers[name]))) }, PLAIN_REQUEST)
    }
    // HTTP/2 has no such headers (RFC 9113 section 8.2.2)
    if (request.raw.httpVersionMajor !== 2) reply.headers({ upgrade: 'websocket', connection: reply.raw.shouldKeepAlive ? 'Upgrade' : 'Upgrade, close' })
    return reply.code(426).send({ statusCode: 426, error: 'Upgrade Required', message: 'this is the endpoint of a WebSocket' })
  }

  if (!app.hasRequestDecorator('datasoleAdmission')) app.decorateRequest('datasoleAdmission', null)
  app.route({
    method: 'GET',
    url: settings.path,
    logSerializers: WITHOUT_TOKEN,
    onRequest: async (request, reply) => {
      if (!request.ws) return
      if (core.isDraining) return refuse(reply, 503, 'the server is going away')
      if (!slots.take(request.raw.socket, request.ip)) return refuse(reply, 503, 'too many connections')
      let isAllowed
      try {
        isAllowed = isAllowedOrigin(settings.allowedOrigins, request.raw, request.host)
      } catch (error) {
        core.log.error({ err: error }, 'the function allowedOrigins failed')
        return refuse(reply, 500, 'the origin cannot be checked')
      }
      if (!isAllowed) {
        core.repeats.warn({ origin: request.headers.origin, host: request.host }, 'a page of another origin was refused; to allow it, add the origin to the option allowedOrigins')
        return refuse(reply, 403, 'origin not allowed')
      }
    },
    preValidation: async (request, reply) => {
      if (!request.ws) return
      const subprotocol = bestSubprotocol(request.raw)
      const protocol: ProtocolVersion = subprotocol === undefined ? 1 : SUBPROTOCOLS[subprotocol]
      const { socket } = request.raw
      const arrival = core.pendingUpgrades.begin()
      // refusals close the socket too; and there may be nothing left to come
      if (socket.destroyed) arrival.end()
      else socket.once('close', arrival.end)
      const admitted = await admit(core, { raw: request.raw, ip: request.ip, request, protocol, transport: 'websocket', isGone: () => socket.destroyed })
      if (admitted === undefined) return reply.hijack()
      if ('error' in admitted) return refuse(reply, admitted.status, admitted.error)
      const { context, expiry: lease } = admitted
      // one that goes before it has become a connection was admitted all the same
      const gone = (): void => { core.connectHooks.departed(context, ABNORMAL) }
      if (socket.destroyed || core.isDraining) {
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
      selectSubprotocol(request.raw, subprotocol)
    },
    handler: (request, reply) => upgradeRequired(request, reply),
    wsHandler: (socket: WebSocket, { raw, datasoleAdmission }) => {
      const { context, lease, arrival, settled } = datasoleAdmission!
      settled()
      // core.drain closes it, and nobody else: an application's own registration would, earlier and without a code
      app.websocketServer.clients.delete(socket)
      // the websocket plugin's listener holds request and reply too; accept puts its own in its place
      socket.removeAllListeners('error')
      const connection = core.accept(socket, raw.socket, context, lease)
      const ending = arrival.closeReasonOf(context.userId)
      if (ending !== undefined) connection.close(ending.code, ending.reason)
      const mismatch = versionRefusal(settings.contract, raw.url!)
      if (mismatch !== undefined) connection.close(CloseCode.CONTRACT_MISMATCH, mismatch)
      slots.occupy(raw.socket, connection)
    }
  })

  return async (upgrades, requests) => {
    const connected = Array.from(core.hub).filter(({ carrier }) => carrier !== undefined && requests.has(carrier))
    for (const socket of upgrades) {
      const connection = slots.at(socket)
      if (connection === undefined) socket.destroy()
      else connected.push(connection)
    }
    await closeInWaves(connected, settings.drainMs, settings.closeTimeoutMs)
    await until(performance.now() + settings.closeTimeoutMs, () => connected.every(({ calls }) => calls === undefined || calls.size === 0))
    for (const connection of connected) connection.close(CloseCode.GOING_AWAY, 'server going away')
  }
}

/** The sockets of connections, and of those that are still to be authenticated. */
class Slots {
  readonly #sockets = new Map<Duplex, Connection | undefined>()
  readonly #byAddress = new Map<string, number>()

  constructor (readonly limit: number, readonly limitPerAddress: number) {}

  /** Given back when the socket closes, whatever becomes of the upgrade. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#sockets.size >= this.limit || ofAddress >= this.limitPerAddress || socket.destroyed) return false
    this.#sockets.set(socket, undefined)
    this.#byAddress.set(address, ofAddress + 1)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = this.#byAddress.get(address)! - 1
      if (left === 0) this.#byAddress.delete(address)
      else this.#byAddress.set(address, left)
    })
    return true
  }

  /** It has become a connection. */
  occupy (socket: Duplex, connection: Connection): void {
    if (this.#sockets.has(socket)) this.#sockets.set(socket, connection)
  }

  at (socket: Duplex): Connection | undefined {
    return this.#sockets.get(socket)
  }
}

/** The newest of our subprotocols that a client offers. */
function bestSubprotocol ({ headers }: IncomingMessage): keyof typeof SUBPROTOCOLS | undefined {
  const offers = (headers['sec-websocket-protocol'] ?? '').split(',').map((offer) => offer.trim())
  return (Object.keys(SUBPROTOCOLS) as Array<keyof typeof SUBPROTOCOLS>).find((subprotocol) => offers.includes(subprotocol))
}

/** Of what was offered only our subprotocol may be selected, never a token; and no extension, so no deflate. */
function selectSubprotocol ({ headers }: IncomingMessage, subprotocol: string | undefined): void {
  if (subprotocol !== undefined) headers['sec-websocket-protocol'] = subprotocol
  else delete headers['sec-websocket-protocol']
  delete headers['sec-websocket-extensions']
}
