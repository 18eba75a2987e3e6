import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { assets } from './assets.js'
import { connections } from './connections.js'
import { type UpgradeRouter, upgrades } from './upgrades.js'

export interface Mounted {
  route: UpgradeRouter
  /** Ends what came by these sockets, as `close()` would. */
  release: (sockets: ReadonlySet<Duplex>) => Promise<void>
}

/**
 * The server as a tree of plugins. What starts first stops last: the core starts when everything is
 * registered, drains before the http server closes, and gives back its resources afterwards.
 */
export async function mount (app: FastifyInstance, core: Core): Promise<Mounted> {
  app.addHook('onReady', () => core.start())
  app.addHook('preClose', () => core.drain())
  app.addHook('onClose', () => core.stop())
  const route = await upgrades(app, core)
  await assets(app, core)
  const release = connections(app, core)
  return { route, release }
}
