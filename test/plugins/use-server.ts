import { once } from 'node:events'
import { createRequire } from 'node:module'
import type { Datasole } from '../../index.js'
import { modules } from '../helpers/watch-modules.js'

/** Uses a server of one entrance in this process, and sends which modules that has loaded. */
const [entrance, plugin] = process.argv.slice(2)
const { pluginEntrances } = await import('../helpers/plugin-entrances.js')
const { default: metrics } = await import('../../plugins/metrics.js')
const { default: redis } = await import('../../plugins/redis.js')
let ds: Datasole | undefined
const teardowns: Array<() => unknown> = []
const start = pluginEntrances.find(([name]) => name === entrance)![1]
const connect = await start({ teardown: (fn: () => unknown) => { teardowns.push(fn) } } as never, async (app) => {
  if (plugin === 'metrics') await app.register(metrics)
  else if (plugin !== undefined) await app.register(redis, { url: plugin })
  app.ds.rpc.register('echo', (params) => params)
  ds = app.ds
  app.ds.primitives.crdt.register('likes', 'pn-counter')
})
const wire = await connect()
await wire.call('echo', 1)
await ds!.primitives.live.setState('k', 1)
ds!.primitives.sessions.set('u', 'k', 1)
wire.socket.terminate()
await once(wire.socket, 'close')
for (const teardown of teardowns) await teardown()
process.send!(await modules(Object.keys(createRequire(import.meta.url).cache)))
process.disconnect()
