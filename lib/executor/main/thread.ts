import type { EventLoopUtilization } from 'node:perf_hooks'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { DatasoleError, coded, memberOf } from '../../protocol/errors.js'
import type { Driver, ThreadOwner } from './driver.js'
import type { Registered, WorkerLimits } from '../executor.js'
import type { ExecutorSettings } from '../../server/config/executor-settings.js'
import { type BatchFromWorker, type ErrorCopy, FromWorker, ToWorker, type Totals, type WorkerSetup, sharedNow } from '../thread-messages.js'
import { PortOutbox } from '../port-outbox.js'

/** Timeout in ms for a script to load. */
const MAX_START = 30_000

/** Interval in ms at which a new span for measuring utilization starts. */
const SPAN = 5000

const NONE: readonly number[] = []

/** The settings of all threads. */
export interface ThreadOptions {
  driver: Driver
  /** URL of the file that runs in the thread. */
  entry: string
  settings: ExecutorSettings
  limits: WorkerLimits
  schemas: string | undefined
  levels: string[]
}

/** A thread's messages about tasks. */
export type TaskNews = Exclude<FromWorker, [0 | 1 | 9, ...unknown[]]>

/** Callbacks of a thread. The first is `ready` or `lost`; `lost` is called at most once. */
export interface ThreadOwnerEvents {
  ready (registered: Registered): void
  received (message: TaskNews): void
  /** Called for each started task with its waiting time in ms, while waiting times are recorded. */
  waited (ms: number): void
  lost (error: Error): void
}

/**
 * One thread, from start to end. Piscina starts it, limits its memory and reports its end. The thread runs one piscina
 * task for its whole life. Frames use a port of that task, which costs a third of a piscina task per frame
 * (docs/executors.md).
 */
export class Thread {
  /** Totals from the thread's last message. */
  totals: Totals = [0, 0, 0, 0]
  readonly #owner: ThreadOwner
  readonly #events: ThreadOwnerEvents
  readonly #port: MessagePort
  readonly #outbox: PortOutbox<number, ToWorker>
  readonly #progress = new Int32Array(new SharedArrayBuffer(4))
  readonly #stuckTimeoutMs: number
  #starting: NodeJS.Timeout | undefined
  #watch: NodeJS.Timeout | undefined
  #isOver = false
  #ending: Promise<void> | undefined
  /** The measurements at the start of the last two spans. */
  #samples: { at: number, beginning: EventLoopUtilization, next: EventLoopUtilization } | undefined

  /** @throws if the operating system cannot start a thread, or Node.js refuses the options; all resources are freed */
  constructor ({ driver, entry, settings, limits, schemas, levels }: ThreadOptions, events: ThreadOwnerEvents) {
    this.#events = events
    this.#stuckTimeoutMs = settings.stuckTimeoutMs
    const { port1, port2 } = new MessageChannel()
    this.#port = port1
    this.#outbox = new PortOutbox(port1, sharedNow)
    const { maxOldGenerationSizeMb, execArgv } = settings
    this.#owner = new driver.Piscina({
      filename: entry,
      minThreads: 0,
      maxThreads: 1,
      atomics: 'disabled', // by default, piscina blocks the thread's event loop between tasks
      recordTiming: false,
      ...execArgv !== undefined && { execArgv },
      ...maxOldGenerationSizeMb !== undefined && { resourceLimits: { maxOldGenerationSizeMb } }
    })
    this.#owner.on('error', (error) => { this.#lose(error) })
    const setup: WorkerSetup = { port: port2, script: settings.workerScript, schemas, limits, levels, progress: this.#progress }
    // run first: it throws at once if the thread cannot start
    const running = this.#owner.run(setup, { transferList: [port2] })
    running.then(() => { this.#lose(new Error('the worker thread ended')) }, (error: Error) => { this.#lose(error) })
    port1.on('message', (batch: BatchFromWorker) => { this.#receive(batch) })
    this.#starting = setTimeout(() => { this.#lose(new DatasoleError('WORKER_FAILED', `the worker script took longer than ${MAX_START} ms to load`)) }, MAX_START)
  }

  post (message: ToWorker, transfer?: ArrayBuffer): void {
    if (!this.#isOver) this.#outbox.push(message, transfer)
  }

  /** Pings the thread, and ends it if its event loop makes no progress within `stuckTimeoutMs`. */
  checkStuck (): void {
    if (this.#watch !== undefined || this.#isOver) return
    this.post([ToWorker.PING])
    this.#await(Atomics.load(this.#progress, 0))
  }

  /** Share of busy time over the last one to two spans, from 0 to 1. */
  utilization (): number {
    const now = this.#measure()
    if (now === undefined) return 0
    const { idle, active } = this.#samples?.beginning ?? { idle: 0, active: 0 }
    const passed = now.idle + now.active - idle - active
    // the two clocks are not read at the same time, so bound the share
    return passed > 0 ? Math.min(1, Math.max(0, (now.active - active) / passed)) : 0
  }

  /** Starts a new span when it is due. */
  sample (): void {
    const at = performance.now()
    if (this.#samples !== undefined && at - this.#samples.at < SPAN) return
    const now = this.#measure()
    if (now !== undefined) this.#samples = { at, beginning: this.#samples?.next ?? now, next: now }
  }

  #measure (): EventLoopUtilization | undefined {
    return this.#isOver ? undefined : this.#owner.threads[0]?.performance.eventLoopUtilization()
  }

  /** Ends the thread and its running tasks. No callback follows. */
  end (): Promise<void> {
    this.#isOver = true
    clearTimeout(this.#starting)
    clearTimeout(this.#watch)
    this.#port.close()
    return (this.#ending ??= this.#owner.destroy())
  }

  /**
   * Waits for progress of the event loop. Progress restarts the wait, because other tasks may run before the ping.
   * The wait has parts. After a suspension of the process one of them is over at once, the others are not.
   */
  #await (before: number, parts = 4): void {
    this.#watch = setTimeout(() => {
      const now = Atomics.load(this.#progress, 0)
      if (now !== before) return this.#await(now)
      if (parts > 1) return this.#await(before, parts - 1)
      this.#lose(new DatasoleError('WORKER_LOST', `a worker thread was ended: its event loop was blocked for ${this.#stuckTimeoutMs} ms after a call's timeout`))
    }, this.#stuckTimeoutMs / 4)
    this.#watch.unref()
  }

  #receive ([{ totals, waits }, messages]: BatchFromWorker): void {
    this.totals = totals
    for (const ms of waits ?? NONE) this.#events.waited(ms)
    for (const message of messages) {
      if (this.#isOver) return
      if (message[0] === FromWorker.PONG) {
        clearTimeout(this.#watch)
        this.#watch = undefined
      } else if (message[0] === FromWorker.READY) {
        clearTimeout(this.#starting)
        this.#port.unref()
        this.#events.ready({ methods: message[1], events: message[2] })
      } else if (message[0] === FromWorker.FAILED) {
        this.#lose(failureOf(message[1], message[2]))
      } else {
        this.#events.received(message)
      }
    }
  }

  #lose (error: Error): void {
    if (this.#isOver) return
    void this.end()
    this.#events.lost(error)
  }
}

/** Restores the error of a script. A structured clone loses its code, and its class unless it is JavaScript's own. */
function failureOf (error: unknown, { name, message, code, stack }: ErrorCopy): Error {
  if (name === 'DatasoleError' && typeof code === 'string') return Object.assign(new DatasoleError(code, message, { cause: memberOf(error, 'cause') }), { stack })
  if (typeof code !== 'string') return error instanceof Error ? error : new DatasoleError('WORKER_FAILED', `the worker script threw ${message}`)
  // module hooks run in another thread, and their errors arrive as plain objects
  return coded(error instanceof Error ? error : Object.assign(new Error(message), { name, stack }), code)
}
