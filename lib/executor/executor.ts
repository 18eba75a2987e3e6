import type { WorkerContract } from '../contract/worker-contract.js'
import type { RpcError } from '../protocol/errors.js'
import type { ConnectionContext } from '../server/context/connection-context.js'
import type { ExecutorMetrics } from '../server/metrics/metrics.js'
import type { Logger } from '../server/context/logger.js'

/** The server's options that methods and events need, in threads too. */
export interface WorkerLimits {
  rpcTimeoutMs: number
  maxJsonDepth: number
  maxTags: number
  compressionThreshold: number
  /** The server's contract, as it crosses. */
  contract?: WorkerContract | undefined
}

/** The registrations of a worker script. */
export interface Registered {
  methods: Array<{ name: string, timeoutMs: number }>
  events: string[]
}

/** One frame's work, as whoever asked for it sees it. Each is ended once, whatever happens. */
export interface Task {
  readonly kind: 'call' | 'event'
  /** For whom; undefined for an event of server code. */
  readonly context: ConnectionContext | undefined
  /** Whether server code asks, which gets JSON text instead of a message. */
  readonly isLocal: boolean
  /** Whether `context` is of this task only, so that nothing stays with the thread afterwards. */
  readonly isPassing: boolean
  readonly correlationId: number
  /** Of the frame: JSON, in UTF-8. Taken over by the executor. */
  readonly payload: Buffer
  /** The result of a call: a whole message for the wire, or JSON text for server code. */
  answer (message: Buffer | string): void
  /** The handler of a call threw this, as far as it can cross; it may have been answered already. */
  threw (thrown: unknown): void
  /** It was not run, or its thread was lost while it ran. */
  refuse (error: RpcError): void
  /** Its payload is not what a frame may carry. */
  malformed (message: string): void
  /** The handler has ended, after its answer or without one; or nothing more will come. */
  ended (): void
}

/** A task in the hands of an executor. */
export interface Job {
  /** Whether a thread has it, so that its handler may have begun. */
  readonly hasBegun: boolean
  /** Tells the handler through its signal; one that has not begun never will. */
  abort (error: RpcError): void
  /** The task has taken too long: the thread is ended if it does not even turn its event loop. */
  checkStuck (): void
}

/** The requests of code in workers to the server; arguments and result are JSON text. */
export interface WorkerServices {
  request (name: string, args: string): Promise<string | undefined>
}

/**
 * Where the handlers of a worker script run. The tasks of one connection begin in the order in which they
 * came, in one thread; where that is lost, those that it had are refused with `WORKER_LOST`.
 */
export interface Executor {
  /**
   * Starts a thread and loads the script.
   * @throws what the script throws; DatasoleError `INVALID_OPTION` (no such script), `DRIVER_MISSING`, `WORKER_FAILED`
   */
  start (services: WorkerServices, log: Logger): Promise<Registered>
  /** Takes a task, or refuses it at once with `BUSY`; never throws. */
  run (task: Task): Job | undefined
  /** A connection has ended: its thread forgets it after what it sent. */
  departed (context: ConnectionContext): void
  /** Whether nothing runs or waits. */
  readonly isIdle: boolean
  metrics (): ExecutorMetrics
  /** Ends every thread, whatever runs in it. */
  close (): Promise<void>
}
