import type { BusHandlers } from '../bus/bus.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandlers } from '../connection/frame-handler.js'

/**
 * One feature of the server. Parts start in the order of the core's list, and quiesce, drain and stop in the
 * reverse. Deadlines are ms of the monotonic clock.
 */
export interface Part {
  /** Rejects if the server cannot start; then every part is stopped. */
  start? (): Promise<void> | void
  /** Finishes what is under way while clients are still connected. */
  quiesce? (deadline: number): Promise<void>
  /** Finishes what is under way once clients have gone. */
  drain? (deadline: number): Promise<void>
  /** Gives back what `start` took, however far that came; may be called twice. */
  stop? (): Promise<void> | void
  connected? (connection: Connection): void
  disconnected? (connection: Connection, code: number): void
  /** Of the frames that clients send it. Each kind belongs to one part. */
  readonly frames?: Partial<FrameHandlers>
  /** Messages of other nodes. */
  readonly messages?: Partial<BusHandlers>
}
