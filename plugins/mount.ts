import type { FastifyInstance } from 'fastify'
import type { Core } from '../lib/server/core.js'
import { assets } from './assets.js'
import { type UpgradeRouter, connections } from './connections.js'

/**
 * The server as a tree of plugins. The backend connects while the plugin loads, so that whoever awaits
 * `register` can use it. The core starts when everything is registered, drains before the http server
 * closes, and gives back its resources afterwards.
 * @throws DatasoleError what the backend's `connect` throws; nothing stays open
 */
export async function mount (app: FastifyInstance, core: Core): Promise<UpgradeRouter> {
  app.addHook('onReady', () => core.start())
  app.addHook('preClose', () => core.drain())
  app.addHook('onClose', () => core.stop())
  await core.connect()
  await assets(app, core)
  return await connections(app, core)
}
