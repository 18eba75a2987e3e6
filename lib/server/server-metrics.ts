import type { Bus } from './bus/bus.js'
import type { Flusher } from './connection/flusher.js'
import type { Hub } from './connection/hub.js'
import type { Keyspace } from './keyspace.js'
import { Metrics } from './metrics/metrics.js'
import type { Workers } from './workers/workers.js'

/** The metrics of a server. They read its parts when a snapshot is taken. */
export function serverMetrics (hub: Hub, flusher: Flusher, workers: readonly Workers[], keyspace: () => Keyspace): Metrics {
  return new Metrics(() => hub.size, () => workers.map(({ metrics }) => metrics), {
    bufferedBytes: () => Array.from(hub).reduce((sum, { bufferedBytes }) => sum + bufferedBytes, 0),
    subscriptions: () => keyspace().subscriptions.size,
    nodeMessages: () => sum(keyspace(), ({ received }) => received),
    topics: () => sum(keyspace(), ({ topics }) => topics?.size ?? 0),
    backends: (timeoutMs) => keyspace().storages.health(timeoutMs),
    afterFlush: (fn) => { flusher.afterPass(fn) }
  })
}

function sum ({ storages }: Keyspace, of: (bus: Bus) => number): number {
  let total = 0
  for (const { bus } of storages) total += of(bus)
  return total
}
