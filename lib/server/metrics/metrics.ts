import type { FrameTap } from './frame-tap.js'
import { type DurationName, type Recorder, Recorders } from './recorder.js'
import type { Tracer } from './tracer.js'
import { type RefusalCounts, type RefusalPlace, Refusals, closeReason } from './refusals.js'

/** The threads of one node: current values, and counts since the server was constructed. */
export interface ExecutorMetrics {
  /** threads that run or start, now */
  threads: number
  /** calls and events that wait or run, now; an event runs until its handlers return */
  queued: number
  /** connections that are assigned to a thread, now */
  assigned: number
  /** times that a connection was assigned to a thread */
  assignments: number
  /** threads lost by an error outside of a call, an exit, their memory limit, or a blocked event loop */
  restarts: number
  /** share of time that the threads were busy, mean over the last 5 to 10 seconds; 0 to 1. The same for every reader */
  utilization: number
  /** calls and events that threads have started */
  tasks: number
  /** total ms from the main thread to the start in a thread */
  waitMs: number
  /** total ms from the start until the handler returned, a promise or a result */
  runMs: number
}

/** Counters of one node since the server was constructed. */
export interface MetricsSnapshot {
  /** Open connections, now. */
  connections: number
  /** Messages received, whatever their kind; WebSocket control frames are not messages. */
  messagesIn: number
  /** Messages sent, one per receiver. */
  messagesOut: number
  /** Bytes of those messages on the wire, WebSocket headers included. */
  bytesIn: number
  /** Bytes sent, counted in the same way. */
  bytesOut: number
  /** Calls received from clients, refused ones included. */
  rpcCalls: number
  /** Calls that were answered with an error, refusals included. */
  rpcErrors: number
  /** STATE_PATCH frames sent, one per receiver */
  statePatches: number
  /** STATE_SNAPSHOT frames sent, one per receiver */
  stateSnapshots: number
  /** Updates that version 1 clients did not get, because they cannot take frames over 1 MiB. */
  stateOversized: number
  /** Commits of this node that the backend accepted. */
  commits: number
  /** Changes that clients pushed to channels, refused ones included. */
  pushes: number
  /** Pushes refused: conflicts, hooks, validation, limits of the channel. */
  pushesRefused: number
  /** Events received from clients. */
  eventsIn: number
  /** Events from clients dropped because their name was too long. */
  eventsDropped: number
  /** Events from clients without a handler. */
  eventsUnhandled: number
  /** Frames that did not decode, or were not allowed on their connection. */
  badFrames: number
  /** Frames refused by the rate limit, or because too many frames waited for it. */
  rateLimited: number
  /** Frames on which `rateLimit.onBackendError` decided, because the backend did not. */
  rateLimitFallbacks: number
  /** Upgrades refused: limits, origin, authentication, hooks. */
  upgradesRefused: number
  /** Connections closed with 4413. */
  slowConsumers: number
  /** Bytes buffered for connections, now. */
  bufferedBytes: number
  /** Subscriptions of all connections, now, including keys that version 1 clients mirror. */
  subscriptions: number
  /** Messages from other nodes: broadcasts, events, heartbeats, questions and answers. Commits are not counted. */
  nodeMessages: number
  /** Topics subscribed, now: users and tags, and one for the node itself. 0 if the backend has no topics. */
  topics: number
  /** Commits of this node that conflicted with another node's commit. They are computed again. */
  commitConflicts: number
  /** Commits that the backend did not answer in time, or at all. */
  commitFailures: number
  /** Refused upgrades, failed calls, ERROR frames, and closed connections, by reason; absent if there were none. */
  refusals?: RefusalCounts
  /** Threads and their tasks; absent with `executor: { model: 'async' }`. */
  executor?: ExecutorMetrics
  /** Seconds since the server was constructed. */
  uptime: number
}

/** The health of a backend, now. */
export interface BackendHealth {
  /** The scope that the backend was registered in; `root` for the server's own. */
  scope: string
  /** Whether the backend answers a read, and delivers a message back to this node, in time. */
  ready: boolean
  /** ms that a message takes from this node through the backend and back; absent if it did not arrive */
  lagMs?: number
}

/** Callbacks that provide values for a snapshot. */
export interface MetricsSources {
  bufferedBytes (): number
  subscriptions (): number
  nodeMessages (): number
  topics (): number
  backends (timeoutMs: number): Promise<BackendHealth[]>
  /** Calls `fn` after everything that is queued for connections now is written. */
  afterFlush (fn: () => void): void
}

const NO_SOURCES: MetricsSources = { bufferedBytes: () => 0, subscriptions: () => 0, nodeMessages: () => 0, topics: () => 0, backends: async () => [], afterFlush: (fn) => { fn() } }

/** ms that a backend may take to answer. */
const HEALTH_TIMEOUT = 1000

/** The metrics of servers in this process that have started and not stopped. */
const running = new Set<Metrics>()

/** @internal The metrics of the servers that run in this process. */
export const runningMetrics = (): Metrics[] => [...running]

/** The metrics of one node: `ds.metrics`. `snapshot()` has the counters. */
export class Metrics {
  readonly #startedAt = performance.now()
  readonly #connections: () => number
  readonly #executors: () => ExecutorMetrics[]
  readonly #sources: MetricsSources
  readonly #refusals = new Refusals()
  #recorder: Recorder | undefined
  #recorders: readonly Recorder[] = []
  #tracer: Tracer | undefined
  #tap: FrameTap | undefined
  #isHidden = false
  /** @internal */ messagesIn = 0
  /** @internal */ messagesOut = 0
  /** @internal */ bytesIn = 0
  /** @internal */ bytesOut = 0
  /** @internal */ rpcCalls = 0
  /** @internal */ rpcErrors = 0
  /** @internal */ statePatches = 0
  /** @internal */ stateSnapshots = 0
  /** @internal */ stateOversized = 0
  /** @internal */ commits = 0
  /** @internal */ pushes = 0
  /** @internal */ pushesRefused = 0
  /** @internal */ eventsIn = 0
  /** @internal */ eventsDropped = 0
  /** @internal */ eventsUnhandled = 0
  /** @internal */ badFrames = 0
  /** @internal */ rateLimited = 0
  /** @internal */ rateLimitFallbacks = 0
  /** @internal */ upgradesRefused = 0
  /** @internal */ slowConsumers = 0
  /** @internal */ commitConflicts = 0
  /** @internal */ commitFailures = 0

  constructor (connections: () => number, executors: () => ExecutorMetrics[], sources = NO_SOURCES) {
    this.#connections = connections
    this.#executors = executors
    this.#sources = sources
  }

  /** @internal Starts recording durations. Without a recorder no clock is read. @returns ends it */
  record (recorder: Recorder): () => void {
    this.#setRecorders([...this.#recorders, recorder])
    return () => { this.#setRecorders(this.#recorders.filter((each) => each !== recorder)) }
  }

  /** @internal Undefined without a tracer. */
  get tracer (): Tracer | undefined { return this.#tracer }

  /** @internal Starts tracing. @returns ends it */
  trace (tracer: Tracer): () => void {
    this.#tracer = tracer
    return () => { if (this.#tracer === tracer) this.#tracer = undefined }
  }

  /** @internal Undefined if no tap observes frames. */
  get tap (): FrameTap | undefined { return this.#tap }

  /** @internal Shows a tap all frames from now on. There is one tap at a time. @returns ends it */
  watch (tap: FrameTap): () => void {
    this.#tap = tap
    return () => { if (this.#tap === tap) this.#tap = undefined }
  }

  #setRecorders (recorders: readonly Recorder[]): void {
    this.#recorders = recorders
    this.#recorder = recorders.length > 1 ? new Recorders(recorders) : recorders[0]
  }

  /** @internal The time in ms if durations are recorded, else 0. */
  begin (): number {
    return this.#recorder === undefined ? 0 : performance.now()
  }

  /** @internal Whether durations are recorded. */
  get isMeasured (): boolean { return this.#recorder !== undefined }

  /** @internal Records a duration that was measured elsewhere. */
  observe (name: DurationName, label: string, ms: number): void {
    this.#recorder?.observe(name, label, ms)
  }

  /** @internal Records the duration since `began`; nothing if it is 0, because there was no recorder then. */
  end (name: DurationName, label: string, began: number, hasFailed = false): void {
    if (began > 0) this.#recorder?.observe(name, label, performance.now() - began, hasFailed)
  }

  /** @internal As `end`, after the queued messages are written to the sockets. */
  endFanout (kind: string, began: number): void {
    if (began > 0) this.#sources.afterFlush(() => { this.end('fanout', kind, began) })
  }

  /** @internal */
  refused (place: RefusalPlace, reason: string): void {
    this.#refusals.count(place, reason)
  }

  /** @internal Counts a connection that the server closes. */
  closed (code: number): void {
    this.#refusals.count('close', closeReason(code))
  }

  /** @internal Hides the server of a plugin from exporters. */
  hide (): void {
    this.#isHidden = true
    running.delete(this)
  }

  /** @internal Adds the server to the running ones. */
  start (): void {
    if (!this.#isHidden) running.add(this)
  }

  /** @internal Removes the server from the running ones. */
  stop (): void {
    running.delete(this)
  }

  /**
   * Tests every backend of the server.
   * @param timeoutMs ms that a backend may take, default 1,000
   */
  async backends (timeoutMs = HEALTH_TIMEOUT): Promise<BackendHealth[]> {
    return await this.#sources.backends(timeoutMs)
  }

  /** All counters at this moment, as a plain object. */
  snapshot (): MetricsSnapshot {
    const executors = this.#executors()
    const refusals = this.#refusals.counts()
    return {
      ...this,
      connections: this.#connections(),
      bufferedBytes: this.#sources.bufferedBytes(),
      subscriptions: this.#sources.subscriptions(),
      nodeMessages: this.#sources.nodeMessages(),
      topics: this.#sources.topics(),
      ...refusals && { refusals },
      ...executors.length > 0 && { executor: sum(executors) },
      uptime: (performance.now() - this.#startedAt) / 1000
    }
  }
}

/** The sum over the executors of all scopes. Utilization is the mean over their threads. */
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
