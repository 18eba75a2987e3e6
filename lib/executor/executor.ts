import type { WorkerContract } from '../contract/worker-contract.js'
import type { RpcError } from '../protocol/errors.js'
import type { ConnectionContext } from '../server/context/connection-context.js'
import type { ExecutorMetrics } from '../server/metrics/metrics.js'
import type { Logger } from '../server/context/logger.js'

/** Server options that methods and events need in threads. */
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

/** The work of one frame, with callbacks for its outcome. `ended` is called once in every case. */
export interface Task {
  readonly kind: 'call' | 'event'
  /** The caller's context; undefined for an event of server code. */
  readonly context: ConnectionContext | undefined
  /** Whether server code is the caller. It gets JSON text instead of a message. */
  readonly isLocal: boolean
  /** Whether `context` serves this task only, so that the thread forgets it afterwards. */
  readonly isPassing: boolean
  readonly correlationId: number
  /** Payload of the frame: JSON in UTF-8. The executor owns it. */
  readonly payload: Buffer
  /** The place of the work in a trace (W3C Trace Context), if it is traced. */
  readonly traceparent: string | undefined
  /** The result of a call: a whole message for the wire, or JSON text for server code. */
  answer (message: Buffer | string): void
  /** The handler of a call threw: a copy of the error. The call may be answered already. */
  threw (thrown: unknown): void
  /** The task was not run, or its thread was lost. */
  refuse (error: RpcError): void
  /** The payload is invalid. */
  malformed (message: string): void
  /** The handler has ended, or no further callback will come. */
  ended (): void
}

/** A task in the hands of an executor. */
export interface Job {
  /** Whether a thread has the task, so that its handler may have begun. */
  readonly hasBegun: boolean
  /** Aborts the handler's signal. A task that has not begun is dropped. */
  abort (error: RpcError): void
  /** The task has taken too long: ends the thread if its event loop is stuck. */
  checkStuck (): void
}

/** The requests of code in workers to the server; arguments and result are JSON text. */
export interface WorkerServices {
  request (name: string, args: string, traceparent?: string): Promise<string | undefined>
  /** Whether somebody records how long tasks wait. */
  readonly isMeasured: boolean
  /** A task has waited so many ms for its thread, since it was sent there. */
  waited (ms: number): void
}

/**
 * Runs the handlers of a worker script. Tasks of one connection begin in order, in one thread. If the thread is
 * lost, its tasks are refused with `WORKER_LOST`.
 */
export interface Executor {
  /**
   * Starts a thread and loads the script.
   * @throws what the script throws; DatasoleError `INVALID_OPTION` (no such script), `DRIVER_MISSING`, `WORKER_FAILED`
   */
  start (services: WorkerServices, log: Logger): Promise<Registered>
  /** Takes a task, or refuses it at once with `BUSY`. Never throws. */
  run (task: Task): Job | undefined
  /** A connection has ended. Its thread forgets it after its tasks. */
  departed (context: ConnectionContext): void
  /** Whether no task runs or waits. */
  readonly isIdle: boolean
  metrics (): ExecutorMetrics
  /** Ends every thread, running tasks included. */
  close (): Promise<void>
}
