import cluster from 'node:cluster'
import type { Logger } from './context/logger.js'

let isSaid = false

/**
 * Warns once per process if this process seems to be one of several that each have their own store. pm2 numbers its
 * processes, even those that are not cluster workers.
 */
export function warnOfSplitBrain (log: Logger): void {
  const isOneOfSeveral = cluster.isWorker || Number(process.env.NODE_APP_INSTANCE ?? 0) > 0
  if (isSaid || !isOneOfSeveral) return
  isSaid = true
  log.warn('this process is one of several (a cluster worker, or one of pm2), but it keeps its state in its own memory. Clients of other processes see other state and get no events from this process. To share a store, pass stateBackend: a RedisBackend or PostgresBackend. To keep the state separate, pass stateBackend: new MemoryBackend()')
}
