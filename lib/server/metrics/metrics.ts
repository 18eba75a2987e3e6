import type { ExecutorMetrics } from '../workers/executor.js'

/** Counters of one node since it was constructed; see the fields' own comments for what counts. */
export interface MetricsSnapshot {
  /** open connections, now */
  connections: number
  /** messages received, whatever their kind; WebSocket control frames are not messages */
  messagesIn: number
  /** messages sent, one per receiver */
  messagesOut: number
  /** bytes of those messages on the wire, WebSocket headers included */
  bytesIn: number
  bytesOut: number
  /** calls received from clients, refused ones included */
  rpcCalls: number
  /** calls that were answered with an error, refusals included */
  rpcErrors: number
  /** STATE_PATCH frames sent, one per receiver */
  statePatches: number
  /** STATE_SNAPSHOT frames sent, one per receiver */
  stateSnapshots: number
  /** updates that version 1 clients did not get, because they cannot take frames over 1 MiB */
  stateOversized: number
  /** commits of this node that the backend accepted */
  commits: number
  /** changes that clients pushed to channels, refused ones included */
  pushes: number
  /** of these, refused: conflicts, hooks, validation, limits of the channel */
  pushesRefused: number
  /** events received from clients */
  eventsIn: number
  /** of these, dropped because their name was too long */
  eventsDropped: number
  /** of these, without a handler */
  eventsUnhandled: number
  /** frames that did not decode, or had no business on their connection */
  badFrames: number
  /** frames refused by the rate limit, or because too many waited for it */
  rateLimited: number
  /** frames on which `rateLimit.onBackendError` decided, because the backend did not */
  rateLimitFallbacks: number
  /** upgrades refused: limits, origin, authentication, hooks */
  upgradesRefused: number
  /** connections closed with 4413 */
  slowConsumers: number
  /** what the thread models do; absent with `executor: { model: 'async' }` */
  executor?: ExecutorMetrics
  /** seconds since the server was constructed */
  uptime: number
}

export class Metrics {
  readonly #startedAt = performance.now()
  readonly #connections: () => number
  readonly #executor: (() => ExecutorMetrics) | undefined
  messagesIn = 0
  messagesOut = 0
  bytesIn = 0
  bytesOut = 0
  rpcCalls = 0
  rpcErrors = 0
  statePatches = 0
  stateSnapshots = 0
  stateOversized = 0
  commits = 0
  pushes = 0
  pushesRefused = 0
  eventsIn = 0
  eventsDropped = 0
  eventsUnhandled = 0
  badFrames = 0
  rateLimited = 0
  rateLimitFallbacks = 0
  upgradesRefused = 0
  slowConsumers = 0

  constructor (connections: () => number, executor?: () => ExecutorMetrics) {
    this.#connections = connections
    this.#executor = executor
  }

  /** All counters at this moment, as a plain object. */
  snapshot (): MetricsSnapshot {
    return {
      ...this,
      connections: this.#connections(),
      ...this.#executor !== undefined && { executor: this.#executor() },
      uptime: (performance.now() - this.#startedAt) / 1000
    }
  }
}
