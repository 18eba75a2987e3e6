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
 * Registers @fastify/websocket with a stub for its server, which gets the upgrades that are meant for
 * routes of Fastify, and no others: on the real server it would answer every neighbour's too. Where the
 * application has registered it before, that registration is shared.
 *
 * @returns hands an upgrade to Fastify's router
 */
export async function upgrades (app: FastifyInstance, { settings, rpc, log }: Core): Promise<UpgradeRouter> {
  /** Upgrades for websocket routes, from their arrival until they are WebSockets or have ended. */
  const pending = new Set<Duplex>()
  const isWebSocketRoute = routeQuestion(app, pending)
  const isShared = app.hasDecorator('websocketServer')
  const stub = new EventEmitter()

  // a response that ended was no upgrade, and where a hook of the application's has sent it nobody else ends the socket
  app.addHook('onResponse', (request, _reply, done) => {
    const { socket } = request.raw
    if (pending.has(socket)) socket.destroy()
    done()
  })
  if (!isShared) {
    stub.on('upgrade', giveSocket)
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
  }
  const ended = function (this: Duplex): void { pending.delete(this) }
  app.websocketServer.on('connection', (_webSocket, { socket }) => {
    pending.delete(socket)
    socket.off('close', ended)
  })
  // runs after core.drain. One that still waits, for a hook of the application's too, would keep the http server open
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
    // Fastify itself would answer, and leave the socket open
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
 * An upgrade by `injectWS` has a stream instead of a socket. It stands for one from where Fastify's `inject`
 * comes from. A response fully uncorks a socket, by a member that this stream does not have, so that it would
 * never finish; and it does not close by itself when both sides have ended.
 */
function giveSocket (req: IncomingMessage, socket: Duplex): void {
  if (req.socket === socket) return
  const remoteAddress = (req.socket as { remoteAddress?: string } | undefined)?.remoteAddress ?? '127.0.0.1'
  req.socket = Object.assign(socket, { remoteAddress, cork () {}, uncork () {} }) as IncomingMessage['socket']
  finished(socket, () => { socket.destroy() })
}

/** How a stand-in for a request ends its way through Fastify. */
const FOUND = new Error('a websocket route')
const OTHER = new Error('anything else')

/**
 * Whether Fastify's router finds a websocket route for an upgrade, by all that it goes by: rewriteUrl,
 * its options, constraints, and other routes that are nearer. It cannot be asked without being run, and
 * no hook may hear of what others on the server are meant to answer. So a stand-in for the request is
 * routed, which comes back by a throw: from the first that is called for a websocket route, its
 * childLoggerFactory, or from the first that Fastify reads for any other route, a symbol in the headers.
 *
 * @returns the question; it answers undefined where constraints are asynchronous, so that nothing is known in time
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
        // the websocket plugin logs it, and leaves the socket open
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
      // what cannot be a route, such as a bad URL, is answered on the spot
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
