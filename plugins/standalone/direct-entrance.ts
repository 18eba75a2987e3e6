import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { WebSocketServer } from 'ws'
import { isThenable } from '../../lib/protocol/errors.js'
import type { Rejection } from '../../lib/server/auth/admission.js'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'
import type { Core } from '../../lib/server/core.js'
import type { Admission, Entrance, UpgradeRouter } from '../../lib/server/entrance.js'

/** Fastify hooks that an upgrade or its refusal would run. An `onRoute` hook may add others to the route. */
const REQUEST_HOOKS = ['onRoute', 'onRequest', 'preParsing', 'preValidation', 'preHandler', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort']

/**
 * Finds out whether upgrades must go through the private Fastify: if a plugin of the application has added a request
 * hook, if a proxy is trusted, or if the auth handler takes Fastify's request.
 * @param app the instance, before plugins of the application are registered
 * @returns answers for the instance with the websocket route; call it after everything is registered
 */
export function needsFastify (app: FastifyInstance, { settings }: Core, trustsProxy: boolean): (mounted: FastifyInstance) => boolean {
  const hooked = new WeakSet<FastifyInstance>()
  app.addHook = new Proxy(app.addHook, {
    apply (addHook, instance: FastifyInstance, args: Parameters<FastifyInstance['addHook']>) {
      if (REQUEST_HOOKS.includes(args[0])) hooked.add(instance)
      return Reflect.apply(addHook, instance, args) as FastifyInstance
    }
  })
  const takesRequest = settings.authHandler !== undefined && settings.authHandler.length !== 1
  // hooks of other encapsulated plugins apply only to their own routes
  return (mounted) => hooked.has(app) || hooked.has(mounted) || trustsProxy || takesRequest
}

/**
 * Handles upgrades without the private Fastify, whose request, reply and router cost as much as all other steps.
 * @returns handles every upgrade, and returns true
 */
export function directEntrance (app: FastifyInstance, { log }: Core, entrance: Entrance): UpgradeRouter {
  const { websocketServer } = app // used because plugins may listen to it
  // it need not track clients, because core.drain closes them
  const server = Object.create(websocketServer, {
    clients: { value: undefined },
    emit: { value: websocketServer.emit.bind(websocketServer) }
  }) as WebSocketServer
  const pending = new Set<Duplex>()
  // runs after core.drain, like the hook in upgrades.ts
  app.addHook('preClose', async () => { for (const socket of pending) socket.destroy() })

  const upgrade = (raw: IncomingMessage, socket: Duplex, head: Buffer, admission: Admission | Rejection | undefined): void => {
    if (admission === undefined) {
      socket.destroy()
      return
    }
    if ('error' in admission) return refuseUpgrade(socket, admission)
    try {
      socket.cork()
      server.handleUpgrade(raw, socket, head, (webSocket) => {
        server.emit('connection', webSocket, raw)
        entrance.accept(webSocket, raw, admission)
      })
    } catch (error) {
      log.error({ err: error }, 'an upgrade failed')
      socket.destroy()
    }
  }

  return (raw, socket, head) => {
    const ip = raw.socket.remoteAddress as string // undefined on a Unix socket, like Fastify's request.ip
    const rejection = entrance.check(raw, ip, raw.headers.host ?? '')
    if (rejection !== undefined) {
      refuseUpgrade(socket, rejection)
      return true
    }
    const admission = entrance.admit(raw)
    if (!isThenable(admission)) {
      upgrade(raw, socket, head, admission)
      return true
    }
    pending.add(socket)
    socket.on('error', destroy)
    void admission.then((admission) => {
      pending.delete(socket)
      socket.off('error', destroy) // the next step adds its own listener
      upgrade(raw, socket, head, admission)
    })
    return true
  }
}

function destroy (this: Duplex): void {
  this.destroy()
}
