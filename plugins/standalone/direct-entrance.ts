import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'
import type { Core } from '../../lib/server/core.js'
import type { Entrance, UpgradeRouter } from '../../lib/server/entrance.js'

/** Hooks of Fastify that an upgrade, or the response to one that is refused, would run; an `onRoute` hook may add more to the route. */
const REQUEST_HOOKS = ['onRoute', 'onRequest', 'preParsing', 'preValidation', 'preHandler', 'preSerialization', 'onSend', 'onResponse', 'onError', 'onTimeout', 'onRequestAbort']

/**
 * Tells whether upgrades have to go through the private Fastify: where a plugin of the application has added a hook
 * for requests, a proxy is trusted, or the auth handler takes Fastify's request.
 * @param app before plugins of the application are registered
 * @returns the question, for the instance that has the websocket route; asked once all is registered
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
  // hooks of other encapsulated plugins are for their own routes
  return (mounted) => hooked.has(app) || hooked.has(mounted) || trustsProxy || takesRequest
}

/**
 * The steps of an upgrade without the private Fastify, whose request, reply and router cost as much as all the rest.
 * @returns takes every upgrade that it is given
 */
export function directEntrance (app: FastifyInstance, { log }: Core, entrance: Entrance): UpgradeRouter {
  const server = app.websocketServer // plugins may listen to it
  const pending = new Set<Duplex>()
  // as those of Fastify: runs after core.drain
  app.addHook('preClose', async () => { for (const socket of pending) socket.destroy() })

  return (raw, socket, head) => {
    const ip = raw.socket.remoteAddress as string // undefined on a Unix socket, as that of Fastify
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
      socket.off('error', destroy) // the server below has its own
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
