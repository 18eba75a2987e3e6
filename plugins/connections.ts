import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import { CloseCode } from '../lib/protocol/codes.js'
import type { Rejection } from '../lib/server/auth/admission.js'
import { redactUrl } from '../lib/server/auth/authenticate.js'
import type { Core } from '../lib/server/core.js'
import type { AuthHandlerFn as AuthHandler, DatasoleServerOptions as ServerOptions } from '../lib/server/config/server-options.js'
import { until } from '../lib/server/lifecycle/until.js'
import { closeInWaves } from '../lib/server/lifecycle/waves.js'
import type { Admission, Entrance, ServerSockets } from '../lib/server/entrance.js'

declare module 'fastify' {
  interface FastifyRequest {
    /** @internal The admitted connection of an upgrade. */
    datasoleAdmission: { admission: Admission, settled: () => void } | null
  }
}

/** The option `authHandler`, with Fastify's request. */
export type AuthHandlerFn = AuthHandler<FastifyRequest>

/** Options of the server. All have defaults. An unknown name or a wrong value throws an error that names the option. */
export type DatasoleServerOptions = ServerOptions<FastifyRequest>

/** The log form of a request, without a token in its URL. */
const WITHOUT_TOKEN = { req: (req: FastifyRequest) => ({ method: req.method, url: redactUrl(req.url), host: req.host, remoteAddress: req.ip }) }

const PLAIN_REQUEST = 'a plain HTTP request came to the path of the WebSocket. If a browser sent an upgrade, a proxy removed its headers: the proxy must speak HTTP/1.1 to this server and pass on the headers Upgrade and Connection (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"). This warning is logged once'

/**
 * Adds the websocket route, whose hooks run the steps of the entrance. A refused upgrade gets a reply. It never throws,
 * because Fastify would log the request's URL with its token.
 * @returns closes the given sockets: connections after their calls have ended, other sockets at once
 */
export function connections (app: FastifyInstance, core: Core, entrance: Entrance): (sockets: ServerSockets) => Promise<void> {
  const { settings } = core
  /** Upgrades whose response is about to be written by `accept`. */
  const admitted = new WeakSet<IncomingMessage>()
  const refuse = (reply: FastifyReply, { status, error }: Rejection): FastifyReply => reply.code(status).header('connection', 'close').send({ statusCode: status, error })

  let wasTold = false
  /** Answers a plain request. Logs the first one as a warning, because a proxy may have dropped its upgrade headers. */
  const upgradeRequired = (request: FastifyRequest, reply: FastifyReply): FastifyReply => {
    if (!wasTold) {
      wasTold = true
      core.log.warn({ path: settings.path, remoteAddress: request.ip, lacks: ['upgrade', 'connection'].filter((name) => !/websocket|upgrade/i.test(String(request.headers[name]))) }, PLAIN_REQUEST)
    }
    // HTTP/2 forbids these headers (RFC 9113 section 8.2.2)
    if (request.raw.httpVersionMajor !== 2) reply.headers({ upgrade: 'websocket', connection: reply.raw.shouldKeepAlive ? 'Upgrade' : 'Upgrade, close' })
    return reply.code(426).send({ statusCode: 426, error: 'Upgrade Required', message: 'this path accepts only WebSocket connections' })
  }

  if (!app.hasRequestDecorator('datasoleAdmission')) app.decorateRequest('datasoleAdmission', null)
  app.route({
    method: 'GET',
    url: settings.path,
    logSerializers: WITHOUT_TOKEN,
    onRequest: async (request, reply) => {
      const rejection = request.ws ? entrance.check(request.raw, request.ip, request.host) : undefined
      if (rejection !== undefined) return refuse(reply, rejection)
    },
    preValidation: async (request, reply) => {
      if (!request.ws) return
      const admission = await entrance.admit(request.raw, request)
      if (admission === undefined) return reply.hijack()
      if ('error' in admission) return refuse(reply, admission)
      request.datasoleAdmission = { admission, settled: () => { reply.raw.detachSocket(request.raw.socket) } }
      admitted.add(request.raw)
    },
    handler: (request, reply) => upgradeRequired(request, reply),
    wsHandler: (socket: WebSocket, { raw, datasoleAdmission }) => {
      // only core.drain may close it: the websocket plugin would close it earlier, and without a code
      app.websocketServer.clients.delete(socket)
      // remove the websocket plugin's listener, which keeps request and reply in memory; accept adds its own
      socket.removeAllListeners('error')
      try {
        datasoleAdmission!.settled()
        entrance.accept(socket, raw, datasoleAdmission!.admission)
      } catch (error) {
        raw.socket.destroy() // its response is corked, so it would never be sent
        core.log.error({ err: error }, 'an upgrade failed')
      }
    }
  })
  // emitted just before the response is written
  app.websocketServer.on('headers', (_headers, raw) => { if (admitted.has(raw)) raw.socket.cork() })

  return async (sockets) => {
    const connected = Array.from(core.hub).filter(({ carrier }) => carrier !== undefined && sockets.has(carrier))
    const carriers = new Set(connected.map(({ carrier }) => carrier))
    for (const socket of sockets.upgrades) if (!carriers.has(socket)) socket.destroy()
    for (const socket of core.slots.pending) if (sockets.has(socket)) socket.destroy()
    await closeInWaves(connected, settings.drainMs, settings.closeTimeoutMs)
    await until(performance.now() + settings.closeTimeoutMs, () => connected.every(({ calls }) => calls === undefined || calls.size === 0))
    for (const connection of connected) connection.close(CloseCode.GOING_AWAY, 'server going away')
  }
}
