import { setTimeout } from 'node:timers/promises'
import { CloseCode } from '../../protocol/codes.js'
import { until } from './until.js'
import type { Connection } from '../connection/connection.js'

/** ms between two waves. */
const PAUSE = 100

/**
 * Closes connections with 1001 in waves, so that their clients spread over the other servers. A connection in the
 * current wave starts no more calls, and closes when its calls in flight are answered.
 * @param drainMs ms over which the waves are spread; 0 closes nothing
 * @param callsMs ms that the calls of a connection may take
 */
export async function closeInWaves (connections: Iterable<Connection>, drainMs: number, callsMs: number): Promise<void> {
  if (drainMs === 0) return
  const all = Array.from(connections)
  const size = Math.ceil(all.length / Math.max(1, Math.ceil(drainMs / PAUSE)))
  const ending: Array<Promise<void>> = []
  let next = performance.now()
  for (let at = 0; at < all.length; at += size) {
    for (const connection of all.slice(at, at + size)) {
      connection.work.isLeaving = true
      ending.push(closeAfterCalls(connection, performance.now() + callsMs))
    }
    // waits for a fixed point in time, so that a slow wave does not delay all later ones
    await setTimeout(Math.max(0, (next += PAUSE) - performance.now()))
  }
  await Promise.all(ending)
}

async function closeAfterCalls (connection: Connection, deadline: number): Promise<void> {
  await until(deadline, () => connection.calls === undefined || connection.calls.size === 0)
  connection.close(CloseCode.GOING_AWAY, 'server going away')
}
