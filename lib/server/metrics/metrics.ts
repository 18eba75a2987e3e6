/** The threads of one node: now, and counts since it was constructed. */
export interface ExecutorMetrics {
  /** threads that are there or are starting, now */
  threads: number
  /** calls and events that wait or run, now; an event's handlers run until they return */
  queued: number
  /** connections that have their place in a thread, now */
  assigned: number
  /** times that a connection was given its place */
  assignments: number
  /** threads that were lost: by a throw outside of a call, an exit, their memory, or because they stood still */
  restarts: number
  /** mean share of the last 5 to 10 seconds that the threads were busy; 0 to 1. The same for every reader */
  utilization: number
  /** calls and events that threads have begun */
  tasks: number
  /** ms from the main thread to their begin, of all of them */
  waitMs: number
  /** ms from their begin until their handler returned, a promise or a result, of all of them */
  runMs: number
}

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
  readonly #executors: () => ExecutorMetrics[]
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

  constructor (connections: () => number, executors: () => ExecutorMetrics[]) {
    this.#connections = connections
    this.#executors = executors
  }

  /** All counters at this moment, as a plain object. */
  snapshot (): MetricsSnapshot {
    const executors = this.#executors()
    return {
      ...this,
      connections: this.#connections(),
      ...executors.length > 0 && { executor: sum(executors) },
      uptime: (performance.now() - this.#startedAt) / 1000
    }
  }
}

/** The executors of all scopes as one; utilization is the mean over their threads. */
function sum (executors: ExecutorMetrics[]): ExecutorMetrics {
  const [first, ...others] = executors
  const total = { ...first! }
  for (const other of others) {
    const threads = total.threads + other.threads
    total.utilization = threads === 0 ? 0 : (total.utilization * total.threads + other.utilization * other.threads) / threads
    for (const name of Object.keys(total) as Array<keyof ExecutorMetrics>) if (name !== 'utilization') total[name] += other[name]
  }
  return total
}
