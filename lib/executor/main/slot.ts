import { isUtf8 } from 'node:buffer'
import { RpcCode } from '../../protocol/codes.js'
import { DatasoleError, RpcError, messageOf } from '../../protocol/errors.js'
import type { ConnectionContext } from '../../server/context/connection-context.js'
import type { Logger } from '../../server/context/logger.js'
import type { Job, Registered, Task, WorkerServices } from '../executor.js'
import type { Affinity } from './affinity.js'
import { FromWorker, SMALL, ToWorker, type Totals, bytesOf, copyError, jsonOrNothing, reviveError } from '../thread-messages.js'
import { type TaskNews, Thread, type ThreadOptions } from './thread.js'

/** Time in ms that a thread must live to reset the restart backoff. */
const HEALTHY = 10_000

/** Delay in ms before the first restart of a lost thread. It doubles up to LONGEST_BACKOFF. */
const FIRST_BACKOFF = 100
const LONGEST_BACKOFF = 10_000

/** The part of the pool that slots use. */
export interface SlotHost {
  readonly services: WorkerServices
  readonly log: Logger
  readonly threadOptions: ThreadOptions
  /** Called when a task has ended. */
  ended (job: SlotJob): void
  /** Called when the slot's thread, and so the state of its connections, is lost. */
  lost (slot: Slot, error: Error): void
}

/** A task that waits for a slot or its thread, or runs in it. */
export class SlotJob implements Job {
  id = 0
  slot: Slot | undefined
  isOver = false

  constructor (
    readonly task: Task,
    /** Undefined for an event of server code. */
    readonly affinity: Affinity<Slot> | undefined,
    /** Called if the task is aborted before it is assigned to a slot. */
    readonly dropped: (job: SlotJob) => void
  ) {}

  get hasBegun (): boolean { return this.id > 0 }

  abort (error: RpcError): void {
    if (this.isOver) return
    if (this.slot === undefined) this.dropped(this)
    else this.slot.abort(this, error)
  }

  checkStuck (): void {
    if (!this.isOver && this.id > 0) this.slot?.checkStuck()
  }
}

/** A place for one thread at a time, with the tasks that run there or wait for the thread to start. */
export class Slot {
  /** Connections that are assigned to this slot. */
  readonly connections = new Set<Affinity<Slot>>()
  /** Monotonic time in ms since when the slot has no connections and tasks. */
  idleSince = 0
  /** Totals of the slot's earlier threads. */
  readonly past: Totals = [0, 0, 0, 0]
  readonly #host: SlotHost
  readonly #running = new Map<number, SlotJob>()
  readonly #waiting = new Set<SlotJob>()
  readonly #refs = new Map<number, Affinity<Slot>>()
  #thread: Thread | undefined
  #isReady = false
  /** Whether the thread reports how long tasks wait. */
  #isMeasured = false
  #lastId = 0
  #lastRef = 0
  #failures = 0
  #startedAt = 0
  #notBefore = 0
  #timer: NodeJS.Timeout | undefined
  /** Settles the promise of the first start. */
  #starting: { resolve: (registered: Registered) => void, reject: (error: Error) => void } | undefined

  constructor (host: SlotHost) {
    this.#host = host
  }

  get size (): number { return this.#running.size + this.#waiting.size }
  /** Whether an event handler's promise is pending. */
  get isPending (): boolean { return this.totals[3] > 0 }
  get hasThread (): boolean { return this.#thread !== undefined }
  get isBackingOff (): boolean { return this.#thread === undefined && performance.now() < this.#notBefore }
  get totals (): Totals { return this.#thread?.totals ?? [0, 0, 0, 0] }

  utilization (): number { return this.#thread?.utilization() ?? 0 }
  sample (): void { this.#thread?.sample() }

  /** Starts the first thread. Rejects if the script fails to load. */
  start (): Promise<Registered> {
    return new Promise((resolve, reject) => {
      this.#starting = { resolve, reject }
      this.#open()
    })
  }

  run (job: SlotJob): void {
    job.slot = this
    if (this.#isReady) return this.#post(job)
    this.#waiting.add(job)
    if (this.#thread !== undefined || this.#timer !== undefined) return
    const wait = this.#notBefore - performance.now()
    if (wait <= 0) return this.#open()
    this.#timer = setTimeout(() => { this.#open() }, wait)
    this.#timer.unref()
  }

  abort (job: SlotJob, { code, message, data }: RpcError): void {
    if (this.#waiting.delete(job)) return this.#end(job)
    this.#thread?.post([ToWorker.ABORT, job.id, code, message, jsonOrNothing(data)])
  }

  checkStuck (): void {
    this.#thread?.checkStuck()
  }

  /** Removes a connection. The thread forgets it after the tasks posted before. */
  release (affinity: Affinity<Slot>): void {
    this.connections.delete(affinity)
    this.#forget(affinity)
    affinity.slot = undefined
  }

  /** Ends the thread, and refuses running and queued tasks. */
  async end (): Promise<void> {
    const thread = this.#thread
    this.#clear(new RpcError(RpcCode.WORKER_LOST, 'the server is closing', { code: 'WORKER_LOST' }))
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#starting?.reject(new DatasoleError('CLOSED', 'the server was closed while its worker script loaded'))
    this.#starting = undefined
    await thread?.end()
  }

  #open (): void {
    this.#timer = undefined
    this.#startedAt = performance.now()
    try {
      const thread: Thread = this.#thread = new Thread(this.#host.threadOptions, {
        ready: (registered) => { this.#ready(registered) },
        received: (message) => { this.#receive(message, thread) },
        waited: (ms) => { this.#host.services.waited(ms) },
        lost: (error) => { this.#lost(error) }
      })
    } catch (error) {
      this.#lost(error as Error) // the operating system cannot start a thread now
    }
  }

  #ready (registered: Registered): void {
    this.#isReady = true
    this.#starting?.resolve(registered)
    this.#starting = undefined
    for (const job of this.#waiting) this.#post(job)
    this.#waiting.clear()
  }

  #post (job: SlotJob): void {
    const { task, affinity } = job
    job.id = ++this.#lastId
    this.#running.set(job.id, job)
    const ref = affinity === undefined ? 0 : this.#introduce(affinity)
    this.#measure()
    const { payload, traceparent } = task
    const bytes = payload.length <= SMALL && isUtf8(payload) ? undefined : new Uint8Array(payload)
    const message: ToWorker = [ToWorker.TASK, job.id, task.kind === 'call', task.isLocal, ref, task.correlationId, bytes ?? payload.toString()]
    if (traceparent !== undefined) message.push(traceparent)
    this.#thread!.post(message, bytes?.buffer)
    if (affinity?.isGone) this.#forget(affinity)
  }

  /** Tells the thread when recording of waiting times starts or stops. */
  #measure (): void {
    const { isMeasured } = this.#host.services
    if (isMeasured === this.#isMeasured) return
    this.#isMeasured = isMeasured
    this.#thread!.post([ToWorker.MEASURE, isMeasured])
  }

  #introduce (affinity: Affinity<Slot>): number {
    if (affinity.ref !== 0 && !affinity.isOutdated) return affinity.ref
    if (affinity.ref === 0) {
      affinity.ref = ++this.#lastRef
      this.#refs.set(affinity.ref, affinity)
    }
    this.#thread!.post([ToWorker.CONNECTION, affinity.ref, affinity.copy()])
    return affinity.ref
  }

  #forget (affinity: Affinity<Slot>): void {
    if (affinity.ref === 0) return
    this.#thread?.post([ToWorker.FORGET, affinity.ref])
    this.#refs.delete(affinity.ref)
    affinity.ref = 0
  }

  #receive (message: TaskNews, thread: Thread): void {
    switch (message[0]) {
      case FromWorker.ANSWER: {
        const [, id, answer] = message
        const job = this.#running.get(id)
        if (job === undefined) return
        job.task.answer(job.task.isLocal ? answer as string : bytesOf(answer))
        return this.#end(job)
      }
      case FromWorker.THROWN: {
        const job = this.#running.get(message[1])
        job?.task.threw(reviveError(message[2]))
        return job && this.#end(job)
      }
      case FromWorker.MALFORMED: {
        const job = this.#running.get(message[1])
        job?.task.malformed(message[2])
        return job && this.#end(job)
      }
      case FromWorker.ENDED: {
        const job = this.#running.get(message[1])
        return job && this.#end(job)
      }
      case FromWorker.TAG: {
        const [, ref, revision, tag, isAdded] = message
        return this.#change(ref, revision, ({ tags }) => { if (isAdded) tags.add(tag); else tags.delete(tag) })
      }
      case FromWorker.VALUE: {
        const [, ref, revision, key, value] = message
        return this.#change(ref, revision, (context) => { context.set(key, value) })
      }
      case FromWorker.REQUEST: {
        const [, requestId, name, args, traceparent] = message
        this.#host.services.request(name, args, traceparent).then(
          (result) => { thread.post([ToWorker.REPLY, requestId, result, undefined]) },
          (error: unknown) => { thread.post([ToWorker.REPLY, requestId, undefined, { ...copyError(error), stack: undefined }]) }
        )
        return
      }
      case FromWorker.LOG: {
        const [, level, data, text] = message
        this.#host.log[level as 'info'](JSON.parse(data) as object, text)
        return thread.post([ToWorker.LOGGED, 1])
      }
    }
  }

  #change (ref: number, revision: number, apply: (context: ConnectionContext) => void): void {
    try {
      this.#refs.get(ref)?.change(revision, apply)
    } catch (error) {
      // the connection has reached a limit on the main thread meanwhile
      this.#host.log.warn({ err: error }, 'a worker thread changed a connection, but the main thread could not apply the change')
    }
  }

  #end (job: SlotJob): void {
    if (job.isOver) return
    job.isOver = true
    this.#running.delete(job.id)
    job.task.ended()
    this.#host.ended(job)
  }

  #lost (error: Error): void {
    this.#failures = performance.now() - this.#startedAt < HEALTHY ? this.#failures + 1 : 1
    this.#notBefore = performance.now() + Math.min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (this.#failures - 1)) * (0.5 + Math.random() / 2)
    const starting = this.#starting
    this.#starting = undefined
    this.#clear(new RpcError(RpcCode.WORKER_LOST, 'the worker thread was lost: the task may or may not have run', { code: 'WORKER_LOST' }))
    if (starting !== undefined) return starting.reject(error)
    this.#host.log.error({ err: error, retryInMs: Math.ceil(this.#notBefore - performance.now()) }, `a worker thread was lost: ${messageOf(error)}`)
    this.#host.lost(this, error)
  }

  /** Refuses every task, and releases the connections, so that other slots can take them. */
  #clear (error: RpcError): void {
    const { totals } = this
    for (const i of [0, 1, 2] as const) this.past[i] += totals[i]
    this.#thread = undefined
    this.#isReady = false
    this.#isMeasured = false
    const jobs = [...this.#running.values(), ...this.#waiting]
    this.#running.clear()
    this.#waiting.clear()
    this.#refs.clear()
    for (const affinity of this.connections) affinity.forget()
    this.connections.clear()
    for (const job of jobs) {
      job.task.refuse(error)
      this.#end(job)
    }
  }
}
