import type { WorkerContract } from '../contract/worker-contract.js'
import type { RpcError } from '../protocol/errors.js'
import type { ConnectionContext } from '../server/context/connection-context.js'
import type { ExecutorMetrics } from '../server/metrics/metrics.js'
import type { Logger } from '../server/context/logger.js'

/** Server options that threads need to run methods and event handlers. */
export interface WorkerLimits {
  rpcTimeoutMs: number
  maxJsonDepth: number
  maxTags: number
  compressionThreshold: number
  /** The server's contract, in the form that is sent to threads. */
  contract?: WorkerContract | undefined
}

/** The registrations of a worker script. */
export interface Registered {
  methods: Array<{ name: string, timeoutMs: number }>
  events: string[]
}

/** The work of one frame, with callbacks for its outcome. `ended` is always called, once. */
export interface Task {
  readonly kind: 'call' | 'event'
  /** The caller's context; undefined for an event of server code. */
  readonly context: ConnectionContext | undefined
  /** Whether server code made the call. It gets JSON text instead of a message. */
  readonly isLocal: boolean
  /** Whether `context` is used by this task only. The thread then forgets it afterwards. */
  readonly isPassing: boolean
  readonly correlationId: number
  /** The payload of the frame: JSON in UTF-8. The executor owns it. */
  readonly payload: Buffer
  /** The parent span (W3C Trace Context), if the task is traced. */
  readonly traceparent: string | undefined
  /** The result of a call: a whole message for the wire, or JSON text for server code. */
  answer (message: Buffer | string): void
  /** Called if the handler of a call threw, with a copy of the error. The call may already be answered. */
  threw (thrown: unknown): void
  /** Called if the task did not run, or its thread was lost. */
  refuse (error: RpcError): void
  /** Called if the payload is invalid. */
  malformed (message: string): void
  /** The last callback: the handler has ended, or the task will not run. */
  ended (): void
}

/** A task that an executor has accepted. */
export interface Job {
  /** Whether the task was sent to a thread, so that its handler may have started. */
  readonly hasBegun: boolean
  /** Aborts the handler's signal. A task that has not started is dropped. */
  abort (error: RpcError): void
  /** Called if the task takes too long. Ends the thread if its event loop is blocked. */
  checkStuck (): void
}

/** The services of the server for code in workers. */
export interface WorkerServices {
  /** Runs a request of a worker. The arguments and the result are JSON text. */
  request (name: string, args: string, traceparent?: string): Promise<string | undefined>
  /** Whether the waiting times of tasks are recorded. */
  readonly isMeasured: boolean
  /** Records how long a task waited in its thread, in ms since it was sent there. */
  waited (ms: number): void
}

/**
 * Runs the handlers of a worker script. Tasks of one connection start in order, in one thread. If the thread is lost,
 * its tasks are refused with `WORKER_LOST`.
 */
export interface Executor {
  /**
   * Starts a thread and loads the script.
   * @throws the script's error; DatasoleError `INVALID_OPTION` (no such script), `DRIVER_MISSING`, `WORKER_FAILED`
   */
  start (services: WorkerServices, log: Logger): Promise<Registered>
  /** Runs or queues a task, or refuses it at once with `BUSY`. Never throws. */
  run (task: Task): Job | undefined
  /** Called when a connection has ended. Its thread forgets it after its tasks. */
  departed (context: ConnectionContext): void
  /** Whether no task is running or queued. */
  readonly isIdle: boolean
  metrics (): ExecutorMetrics
  /** Ends every thread, running tasks included. */
  close (): Promise<void>
}
