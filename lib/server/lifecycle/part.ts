import type { BusHandlers } from '../bus/bus.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandlers } from '../connection/frame-handler.js'

/**
 * One feature of the server. Parts start in the order of the core's list, and quiesce, drain and stop in reverse
 * order. Deadlines are ms of the monotonic clock.
 */
export interface Part {
  /** If it rejects, the server cannot start, and every part is stopped. */
  start? (): Promise<void> | void
  /** Finishes work in progress while clients are still connected. */
  quiesce? (deadline: number): Promise<void>
  /** Finishes work in progress after clients have disconnected. */
  drain? (deadline: number): Promise<void>
  /** Releases what `start` acquired, even if `start` failed halfway. May be called twice. */
  stop? (): Promise<void> | void
  connected? (connection: Connection): void
  disconnected? (connection: Connection, code: number): void
  /** Handlers of frames from clients, by opcode. Each opcode belongs to one part. */
  readonly frames?: Partial<FrameHandlers>
  /** Handlers of messages from other nodes. */
  readonly messages?: Partial<BusHandlers>
}
