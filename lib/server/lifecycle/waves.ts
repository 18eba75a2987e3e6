import { setTimeout } from 'node:timers/promises'
import { CloseCode } from '../../protocol/codes.js'
import { until } from './until.js'
import type { Connection } from '../connection/connection.js'

/** ms between two waves. */
const PAUSE = 100

/**
 * Closes connections with 1001 in waves, so that their clients spread over the other servers. A connection whose
 * turn has come begins no more calls, and is closed when those under way are answered.
 * @param drainMs over which the waves go; 0 leaves the connections alone
 * @param callsMs that the calls of a connection may take
 */
export async function closeInWaves (connections: Iterable<Connection>, drainMs: number, callsMs: number): Promise<void> {
  if (drainMs === 0) return
  const all = Array.from(connections)
  const size = Math.ceil(all.length / Math.max(1, Math.ceil(drainMs / PAUSE)))
  const ending: Array<Promise<void>> = []
  let next = performance.now()
  for (let at = 0; at < all.length; at += size) {
    for (const connection of all.slice(at, at + size)) {
      connection.isLeaving = true
      ending.push(closeAfterCalls(connection, performance.now() + callsMs))
    }
    // by the clock, as a busy server would take longer and longer
    await setTimeout(Math.max(0, (next += PAUSE) - performance.now()))
  }
  await Promise.all(ending)
}

async function closeAfterCalls (connection: Connection, deadline: number): Promise<void> {
  await until(deadline, () => connection.calls === undefined || connection.calls.size === 0)
  connection.close(CloseCode.GOING_AWAY, 'server going away')
}
