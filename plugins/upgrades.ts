import { EventEmitter } from 'node:events'
import { type IncomingMessage, ServerResponse } from 'node:http'
import { type Duplex, finished } from 'node:stream'
import websocket from '@fastify/websocket'
import type { FastifyInstance } from 'fastify'
import { CloseCode } from '../lib/protocol/codes.js'
import { HEADER_SIZE } from '../lib/protocol/frame.js'
import type { Core } from '../lib/server/core.js'
import type { UpgradeRouter } from '../lib/server/entrance.js'
import { refuseUpgrade } from '../lib/server/auth/refuse-upgrade.js'

/**
 * Registers @fastify/websocket with a stub as its http server. The stub gets only upgrades for Fastify's routes; on the
 * real server the plugin would also answer upgrades for other listeners. If the application has already registered
 * @fastify/websocket, that registration is used.
 *
 * @returns passes an upgrade to Fastify's router
 */
export async function upgrades (app: FastifyInstance, { settings, rpc, log }: Core): Promise<UpgradeRouter> {
  /** Sockets of upgrades for websocket routes, until they are WebSockets or have closed. */
  const pending = new Set<Duplex>()
  const isWebSocketRoute = routeQuestion(app, pending)
  const isShared = app.hasDecorator('websocketServer')
  const stub = new EventEmitter()

  // an upgrade with a response was refused: destroy its socket, which stays open after a reply by an application's hook
  app.addHook('onResponse', (request, _reply, done) => {
    const { socket } = request.raw
    if (pending.has(socket)) socket.destroy()
    done()
  })
  if (!isShared) {
    stub.on('upgrade', giveSocket)
    await app.register(websocket, {
      options: { server: stub as never, maxPayload: settings.maxPayload + HEADER_SIZE },
      // errors of sockets are logged and counted after `accept`
      errorHandler: () => {},
      // core.drain has closed datasole's connections; these belong to other routes of the application
      preClose: (done) => {
        for (const client of app.websocketServer.clients) client.close(CloseCode.GOING_AWAY)
        app.websocketServer.close(() => {})
        done()
      }
    })
  }
  const ended = function (this: Duplex): void { pending.delete(this) }
  app.websocketServer.on('connection', (_webSocket, { socket }) => {
    if (pending.delete(socket)) socket.off('close', ended)
  })
  // runs after core.drain; a pending upgrade, even in an application's hook, would keep the http server open
  app.addHook('preClose', async () => { for (const socket of pending) socket.destroy() })

  return (req, socket, head) => {
    if (isShared) giveSocket(req, socket)
    try {
      if (!(isWebSocketRoute(req) ?? !rpc.isDraining)) return false
    } catch (error) {
      log.error({ err: error }, 'an upgrade could not be routed')
      refuseUpgrade(socket, { status: 500 })
      return true
    }
    // Fastify itself would reply but leave the socket open
    if (rpc.isDraining) {
      refuseUpgrade(socket, { status: 503 })
      return true
    }
    if (!socket.destroyed) {
      pending.add(socket)
      socket.once('close', ended)
    }
    return !isShared && stub.emit('upgrade', req, socket, head)
  }
}

/**
 * Prepares an upgrade by `injectWS`, which has a stream instead of a socket. It gets the remote address that Fastify's
 * `inject` uses. `cork` and `uncork` do nothing, because a response uncorks by a member that the stream does not have, and
 * would never finish. The stream is destroyed when both sides have ended, because it does not close by itself.
 */
function giveSocket (req: IncomingMessage, socket: Duplex): void {
  if (req.socket === socket) return
  const remoteAddress = (req.socket as { remoteAddress?: string } | undefined)?.remoteAddress ?? '127.0.0.1'
  req.socket = Object.assign(socket, { remoteAddress, cork () {}, uncork () {} }) as IncomingMessage['socket']
  finished(socket, () => { socket.destroy() })
}

/** Errors that stop the routing of a stand-in request. */
const FOUND = new Error('a websocket route')
const OTHER = new Error('anything else')

/**
 * Finds out whether Fastify's router has a websocket route for an upgrade, including rewriteUrl, router options and
 * constraints. Fastify has no look-up without running a request, but no hook may run for requests of other listeners. So
 * it routes a stand-in for the request, and stops it by a throw at the first step: for a websocket route, the call of its
 * childLoggerFactory; for any other route, Fastify's first read of a symbol in the headers.
 *
 * @returns a function that returns undefined if constraints are asynchronous, so that there is no answer in time
 */
function routeQuestion (app: FastifyInstance, pending: ReadonlySet<Duplex>): (req: IncomingMessage) => boolean | undefined {
  let asked: IncomingMessage | undefined
  app.addHook('onRoute', (route) => {
    const isWebSocket = Boolean(route.websocket ?? false) || route.wsHandler !== undefined
    if (!isWebSocket || ![route.method].flat().includes('GET')) return
    const { childLoggerFactory } = route
    route.childLoggerFactory = function (logger, bindings, options, raw) {
      if (raw === asked) throw FOUND
      try {
        return (childLoggerFactory ?? this.childLoggerFactory).call(this, logger, bindings, options, raw)
      } catch (error) {
        // the websocket plugin logs the error but leaves the socket open
        if (pending.has(raw.socket)) raw.socket.destroy()
        throw error
      }
    }
  })
  return (req) => {
    asked = standInFor(req)
    const answer = new ServerResponse(asked)
    try {
      app.routing(asked, answer)
      // Fastify answers a request that matches no route, such as a bad URL, at once
      return answer.headersSent ? false : undefined
    } catch (error) {
      if (error === FOUND || error === OTHER) return error === FOUND
      throw error
    } finally {
      asked = undefined
    }
  }
}

function standInFor (req: IncomingMessage): IncomingMessage {
  const headers = new Proxy({ ...req.headers }, {
    get (target, name) {
      if (typeof name === 'symbol' && name.description?.startsWith('fastify.') === true) throw OTHER
      return Reflect.get(target, name) as unknown
    }
  })
  return Object.create(req, { headers: { value: headers }, url: { value: req.url, writable: true } }) as IncomingMessage
}
