import type { MessageContext } from '../context/connection-context.js'
import type { Buckets } from './buckets.js'
import type { Budget } from './budget.js'
import type { CallsInFlight } from './calls-in-flight.js'
import type { InboundQueue } from './inbound-queue.js'
import { Inflation } from './inflate.js'

/**
 * The state that a connection needs only once its client has sent a frame, or once it closes. It is an object of its
 * own, because most connections are idle.
 */
export class Work {
  calls: CallsInFlight | undefined
  /** Budgets of operations in progress: calls, events that wait for a hook, CRDT operations. */
  callBudget: Budget | undefined
  eventBudget: Budget | undefined
  operationBudget: Budget | undefined
  /** Set while an event waits for an asynchronous hook. Later events wait for it, to keep the order. */
  events: Promise<void> | undefined
  buckets: Buckets | undefined
  /** Received frames that wait; undefined if there are none. */
  inbound: InboundQueue | undefined
  context: MessageContext | undefined
  badFrames = 0
  subscriptions = 0
  /** True if the connection starts no more calls, because it is about to be closed. */
  isLeaving = false
  terminator: NodeJS.Timeout | undefined
  #inflation: Inflation | undefined

  get inflation (): Inflation { return (this.#inflation ??= new Inflation()) }
}
