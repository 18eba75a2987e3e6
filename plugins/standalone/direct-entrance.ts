import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'
import type { Core } from '../../lib/server/core.js'
import type { Entrance, UpgradeRouter } from '../../lib/server/entrance.js'

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
  const server = app.websocketServer // used because plugins may listen to it
  const pending = new Set<Duplex>()
  // runs after core.drain, like the hook in upgrades.ts
  app.addHook('preClose', async () => { for (const socket of pending) socket.destroy() })

  return (raw, socket, head) => {
    const ip = raw.socket.remoteAddress as string // undefined on a Unix socket, like Fastify's request.ip
    const rejection = entrance.check(raw, ip, raw.headers.host ?? '')
    if (rejection !== undefined) {
      refuseUpgrade(socket, rejection)
      return true
    }
    pending.add(socket)
    socket.on('error', destroy)
    entrance.admit(raw, ip).finally(() => pending.delete(socket)).then((admission) => {
      if (admission === undefined) return socket.destroy()
      if ('error' in admission) return refuseUpgrade(socket, admission)
      socket.off('error', destroy) // handleUpgrade adds its own listener
      socket.cork()
      server.handleUpgrade(raw, socket, head, (webSocket) => {
        server.emit('connection', webSocket, raw)
        server.clients.delete(webSocket) // core.drain closes it
        entrance.accept(webSocket, raw, admission)
      })
    }).catch((error: unknown) => {
      log.error({ err: error }, 'an upgrade failed')
      socket.destroy()
    })
    return true
  }
}

function destroy (this: Duplex): void {
  this.destroy()
}
