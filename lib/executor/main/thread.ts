import type { EventLoopUtilization } from 'node:perf_hooks'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { DatasoleError, coded, memberOf } from '../../protocol/errors.js'
import type { Driver, ThreadOwner } from './driver.js'
import type { Registered, WorkerLimits } from '../executor.js'
import type { ExecutorSettings } from '../../server/config/executor-settings.js'
import { type BatchFromWorker, type ErrorCopy, FromWorker, ToWorker, type Totals, type WorkerSetup, sharedNow } from '../thread-messages.js'
import { PortOutbox } from '../port-outbox.js'

/** ms that a script may take to load. */
const MAX_START = 30_000

/** ms between the starts of the spans over which utilization is measured. */
const SPAN = 5000

const NONE: readonly number[] = []

/** The settings of threads. */
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

/** Callbacks of a thread: `ready` or `lost` first, and `lost` at most once. */
export interface ThreadOwnerEvents {
  ready (registered: Registered): void
  received (message: TaskNews): void
  /** A task has begun that waited so many ms, while somebody records it. */
  waited (ms: number): void
  lost (error: Error): void
}

/**
 * One thread, from start to end. Piscina starts it, limits its memory and reports its end. It runs one piscina
 * task as long as it lives. Frames go over a port of that task, at a third of the cost of a piscina task each
 * (docs/executors.md).
 */
export class Thread {
  /** Totals as of the thread's last message. */
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
  /** The beginnings of the last two spans. */
  #samples: { at: number, beginning: EventLoopUtilization, next: EventLoopUtilization } | undefined

  /** @throws if the system gives no thread, or Node.js refuses its options; nothing is left of it then */
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
      atomics: 'disabled', // by default the thread's event loop is blocked between tasks
      recordTiming: false,
      ...execArgv !== undefined && { execArgv },
      ...maxOldGenerationSizeMb !== undefined && { resourceLimits: { maxOldGenerationSizeMb } }
    })
    this.#owner.on('error', (error) => { this.#lose(error) })
    const setup: WorkerSetup = { port: port2, script: settings.workerScript, schemas, limits, levels, progress: this.#progress }
    // first, as it throws at once if there can be no thread
    const running = this.#owner.run(setup, { transferList: [port2] })
    running.then(() => { this.#lose(new Error('the worker thread ended')) }, (error: Error) => { this.#lose(error) })
    port1.on('message', (batch: BatchFromWorker) => { this.#receive(batch) })
    this.#starting = setTimeout(() => { this.#lose(new DatasoleError('WORKER_FAILED', `the worker script took longer than ${MAX_START} ms to load`)) }, MAX_START)
  }

  post (message: ToWorker, transfer?: ArrayBuffer): void {
    if (!this.#isOver) this.#outbox.push(message, transfer)
  }

  /** Pings the thread, and ends it if its event loop makes no step within `stuckTimeoutMs`. */
  checkStuck (): void {
    if (this.#watch !== undefined || this.#isOver) return
    this.post([ToWorker.PING])
    this.#await(Atomics.load(this.#progress, 0))
  }

  /** Busy share of the last one to two spans, from 0 to 1. Reading it changes nothing. */
  utilization (): number {
    const now = this.#measure()
    if (now === undefined) return 0
    const { idle, active } = this.#samples?.beginning ?? { idle: 0, active: 0 }
    const passed = now.idle + now.active - idle - active
    // the two clocks are read one after the other, so the share may be a little off
    return passed > 0 ? Math.min(1, Math.max(0, (now.active - active) / passed)) : 0
  }

  /** Begins a new span when it is due. Called often. */
  sample (): void {
    const at = performance.now()
    if (this.#samples !== undefined && at - this.#samples.at < SPAN) return
    const now = this.#measure()
    if (now !== undefined) this.#samples = { at, beginning: this.#samples?.next ?? now, next: now }
  }

  #measure (): EventLoopUtilization | undefined {
    return this.#isOver ? undefined : this.#owner.threads[0]?.performance.eventLoopUtilization()
  }

  /** Ends the thread, running tasks included. No callback follows. */
  end (): Promise<void> {
    this.#isOver = true
    clearTimeout(this.#starting)
    clearTimeout(this.#watch)
    this.#port.close()
    return (this.#ending ??= this.#owner.destroy())
  }

  /** Waits for a step of the event loop. Each step restarts the wait, as other tasks may come before the ping. */
  #await (before: number): void {
    this.#watch = setTimeout(() => {
      const now = Atomics.load(this.#progress, 0)
      if (now !== before) return this.#await(now)
      this.#lose(new DatasoleError('WORKER_LOST', `a worker thread was ended: its event loop stood still for ${this.#stuckTimeoutMs} ms after a call's timeout`))
    }, this.#stuckTimeoutMs)
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

/** Restores the error of a script. Structured clones lose its code, and its class if it is not JavaScript's own. */
function failureOf (error: unknown, { name, message, code, stack }: ErrorCopy): Error {
  if (name === 'DatasoleError' && typeof code === 'string') return Object.assign(new DatasoleError(code, message, { cause: memberOf(error, 'cause') }), { stack })
  if (typeof code !== 'string') return error instanceof Error ? error : new DatasoleError('WORKER_FAILED', `the worker script threw ${message}`)
  // module hooks run in a thread of their own, and their errors arrive as plain objects
  return coded(error instanceof Error ? error : Object.assign(new Error(message), { name, stack }), code)
}
