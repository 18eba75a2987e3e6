import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { assets } from './assets.js'
import { asyncapi } from './asyncapi.js'
import { connections } from './connections.js'
import { Entrance, type ServerSockets, type UpgradeRouter } from '../lib/server/entrance.js'

export interface Mounted {
  route: UpgradeRouter
  entrance: Entrance
  /** Closes upgrades, and connections that are HTTP requests, on these sockets, like `close()` does. */
  release: (sockets: ServerSockets) => Promise<void>
}

/**
 * Ties the server's life to Fastify's. The backend connects while the plugin loads, so it can be used after
 * `await register`. The core starts when everything is registered, drains before the http server closes, and then
 * releases its resources.
 * @throws the errors of the backend's `connect`; nothing stays open
 */
export async function begin (app: FastifyInstance, core: Core): Promise<void> {
  app.addHook('onReady', () => core.start())
  app.addHook('preClose', async () => {
    // stop listening first, so that a cluster's primary or a load balancer sends no new clients; Fastify closes later
    if (core.settings.drainMs > 0 && app.server.listening) app.server.close()
    await core.drain()
  })
  app.addHook('onClose', () => core.stop())
  await core.connect()
}

/** Serves the WebSocket and the client bundles. */
export async function mount (app: FastifyInstance, core: Core, route: UpgradeRouter): Promise<Mounted> {
  await assets(app, core)
  asyncapi(app, core)
  const entrance = new Entrance(core)
  const release = connections(app, core, entrance)
  return { route, entrance, release }
}
