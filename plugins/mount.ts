import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { assets } from './assets.js'
import { asyncapi } from './asyncapi.js'
import { connections } from './connections.js'
import { Entrance, type UpgradeRouter } from '../lib/server/entrance.js'

export interface Mounted {
  route: UpgradeRouter
  entrance: Entrance
  /** Ends what came by these sockets, as `close()` would: upgrades, and the connections that are requests. */
  release: (upgrades: ReadonlySet<Duplex>, requests: Pick<WeakSet<Duplex>, 'has'>) => Promise<void>
}

/**
 * Ties the server's life to Fastify's. The backend connects while the plugin loads, so that it can be used after
 * `await register`. The core starts when everything is registered, drains before the http server closes, and
 * gives back its resources afterwards.
 * @throws DatasoleError whatever the backend's `connect` throws; nothing stays open
 */
export async function begin (app: FastifyInstance, core: Core): Promise<void> {
  app.addHook('onReady', () => core.start())
  app.addHook('preClose', async () => {
    // or the primary of a cluster, or a balancer, would go on to send clients here; Fastify's own close comes afterwards
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
