import type { Contract } from '../../contract/define-contract.js'
import { workerContractOf } from '../../contract/worker-contract.js'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError } from '../../protocol/errors.js'
import type { ConnectionContext } from '../../server/context/connection-context.js'
import type { Logger } from '../../server/context/logger.js'
import { packageFile } from '../../server/config/package-file.js'
import { loadDriver } from './driver.js'
import type { Executor, Job, Registered, Task, WorkerLimits, WorkerServices } from '../executor.js'
import type { ExecutorMetrics } from '../../server/metrics/metrics.js'
import type { ExecutorSettings } from '../../server/config/executor-settings.js'
import { Affinity } from './affinity.js'
import { Slot, SlotJob, type SlotHost } from './slot.js'
import type { ThreadOptions } from './thread.js'
import { PendingConnections } from './pending-connections.js'

/** Maximum number of payload bytes of queued and running tasks. */
const MAX_BYTES = 64 * 1024 * 1024

/** `retryAfter` in ms if too many tasks are queued. */
const RETRY = 100

const LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace']

type PoolOptions = Omit<WorkerLimits, 'contract'> & { contract?: Contract | undefined }

/**
 * Worker threads, and the assignment of connections to them. Model `thread-pool`: a connection is assigned to the
 * thread with the fewest connections, and stays there. Model `thread`: a thread serves one connection at a time, and
 * other connections wait.
 */
export class Pool implements Executor, SlotHost {
  threadOptions!: ThreadOptions
  services!: WorkerServices
  log!: Logger
  readonly #settings: ExecutorSettings
  readonly #limits: WorkerLimits
  readonly #schemas: string | undefined
  readonly #isExclusive: boolean
  readonly #slots: Slot[]
  readonly #affinities = new Map<ConnectionContext, Affinity<Slot>>()
  readonly #waiting: PendingConnections
  #sweeping: NodeJS.Timeout | undefined
  #size = 0
  #bytes = 0
  #assignments = 0
  #restarts = 0
  #isClosed = false

  /** @param schemas path, for `packageFile`, of the module that compiles schemas in threads */
  constructor (settings: ExecutorSettings, { rpcTimeoutMs, maxJsonDepth, maxTags, compressionThreshold, contract }: PoolOptions, schemas?: string) {
    this.#settings = settings
    this.#limits = { rpcTimeoutMs, maxJsonDepth, maxTags, compressionThreshold, contract: contract && workerContractOf(contract) }
    this.#schemas = schemas
    this.#isExclusive = settings.model === 'thread'
    this.#slots = Array.from({ length: settings.size }, () => new Slot(this))
    this.#waiting = new PendingConnections(settings.queueTimeoutMs, (job) => { this.#refuse(job, 'no worker thread became free in time') })
  }

  get isIdle (): boolean { return this.#size === 0 }

  async start (services: WorkerServices, log: Logger): Promise<Registered> {
    this.services = services
    this.log = log
    const { isLevelEnabled } = log as { isLevelEnabled?: (level: string) => boolean }
    const levels = LEVELS.filter((level) => isLevelEnabled?.call(log, level) ?? true)
    const entry = packageFile('lib/executor/thread/worker-thread.js').href
    const schemas = this.#schemas === undefined ? undefined : packageFile(this.#schemas).href
    this.threadOptions = { driver: await loadDriver(), entry, settings: this.#settings, limits: this.#limits, schemas, levels }
    const registered = await this.#slots[0]!.start()
    const { idleTimeout } = this.#settings
    this.#slots[0]!.idleSince = performance.now()
    if (!this.#isClosed) this.#sweeping = setInterval(() => { this.#sweep() }, Math.max(10, Math.min(1000, idleTimeout / 4))).unref()
    return registered
  }

  run (task: Task): Job | undefined {
    const { context } = task
    const affinity = context && this.#hold(context)
    const job = new SlotJob(task, affinity, (dropped) => { this.#drop(dropped) })
    const { maxQueue, maxQueuePerConnection, size } = this.#settings
    this.#count(job, 1)
    if (this.#isClosed || (affinity?.size ?? 0) > maxQueuePerConnection || this.#size > maxQueue * size || (this.#size > 1 && this.#bytes > MAX_BYTES)) {
      this.#refuse(job, this.#isClosed ? 'the server is closed' : 'too many tasks wait for worker threads')
      return undefined
    }
    const slot = affinity === undefined ? this.#any() : affinity.slot ?? this.#assign(affinity)
    if (slot === undefined) {
      this.#waiting.add(affinity!, job)
    } else if (slot.size >= maxQueue) {
      this.#refuse(job, 'too many tasks wait for this connection\'s worker thread')
      return undefined
    } else {
      slot.run(job)
    }
    return job
  }

  departed (context: ConnectionContext): void {
    const affinity = this.#affinities.get(context)
    if (affinity === undefined) return
    this.#affinities.delete(context)
    affinity.isGone = true
    for (const job of this.#waiting.leave(affinity)) this.#finish(job)
    this.#release(affinity)
  }

  ended (job: SlotJob): void {
    const { affinity, task, slot } = job
    this.#count(job, -1)
    if (slot !== undefined && slot.size === 0 && slot.connections.size === 0) slot.idleSince = performance.now()
    if (affinity !== undefined && task.isPassing && affinity.size === 0) this.departed(affinity.context)
  }

  lost (slot: Slot): void {
    this.#restarts++
    slot.idleSince = performance.now()
    this.#assignNext(slot)
  }

  metrics (): ExecutorMetrics {
    const running = this.#slots.filter(({ hasThread }) => hasThread)
    const totals = [0, 0, 0]
    for (const slot of this.#slots) for (const i of [0, 1, 2]) totals[i]! += slot.past[i]! + slot.totals[i]!
    return {
      threads: running.length,
      queued: this.#size,
      assigned: this.#slots.reduce((sum, { connections }) => sum + connections.size, 0),
      assignments: this.#assignments,
      restarts: this.#restarts,
      utilization: running.reduce((sum, slot) => sum + slot.utilization(), 0) / Math.max(1, running.length),
      tasks: totals[0]!,
      waitMs: totals[1]!,
      runMs: totals[2]!
    }
  }

  async close (): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#sweeping)
    for (const job of this.#waiting.close()) this.#refuse(job, 'the server is closed')
    await Promise.all(this.#slots.map((slot) => slot.end()))
    this.#affinities.clear()
  }

  #hold (context: ConnectionContext): Affinity<Slot> {
    let affinity = this.#affinities.get(context)
    if (affinity === undefined) this.#affinities.set(context, affinity = new Affinity<Slot>(context))
    return affinity
  }

  /** Assigns a connection to a slot. @returns undefined if no slot is free */
  #assign (affinity: Affinity<Slot>): Slot | undefined {
    if (this.#isExclusive && this.#waiting.has(affinity)) return undefined
    const slot = this.#choose()
    if (slot !== undefined) this.#place(affinity, slot)
    return slot
  }

  #place (affinity: Affinity<Slot>, slot: Slot): void {
    affinity.slot = slot
    slot.connections.add(affinity)
    this.#assignments++
  }

  /** Prefers the slot with the fewest connections, then one with a thread, then the fewest tasks. A slot in backoff comes last. */
  #choose (): Slot | undefined {
    let best: Slot | undefined
    for (const slot of this.#slots) {
      if (this.#isExclusive && slot.connections.size > 0) continue
      if (best === undefined || isBetter(slot, best)) best = slot
    }
    return best
  }

  /** The slot for a task without a connection. */
  #any (): Slot {
    const running = this.#slots.filter(({ hasThread }) => hasThread)
    return running.length === 0 ? this.#slots[0]! : running.reduce((best, slot) => slot.size < best.size ? slot : best)
  }

  /** Releases the connection's slot. In model `thread`, the next waiting connection gets it. */
  #release (affinity: Affinity<Slot>): void {
    const { slot } = affinity
    if (slot === undefined) return
    slot.release(affinity)
    if (slot.size === 0 && slot.connections.size === 0) slot.idleSince = performance.now()
    this.#assignNext(slot)
  }

  /** Assigns a free thread to the connection that has waited longest. */
  #assignNext (slot: Slot): void {
    if (this.#isClosed || !this.#isExclusive || slot.connections.size > 0) return
    const next = this.#waiting.next()
    if (next === undefined) return
    this.#place(next.affinity, slot)
    for (const job of next.jobs) slot.run(job)
  }

  /** Ends unused threads. In model `thread`, also releases the threads of idle connections. */
  #sweep (): void {
    const now = performance.now()
    const { idleTimeout } = this.#settings
    for (const slot of this.#slots) {
      slot.sample()
      if (!slot.hasThread || slot.isPending) continue
      if (this.#isExclusive) for (const affinity of slot.connections) if (affinity.size === 0 && now - affinity.usedAt >= idleTimeout) this.#release(affinity)
      if (slot.size === 0 && slot.connections.size === 0 && now - slot.idleSince >= idleTimeout) void slot.end()
    }
  }

  #count (job: SlotJob, by: 1 | -1): void {
    this.#size += by
    this.#bytes += by * job.task.payload.length
    if (job.affinity === undefined) return
    job.affinity.size += by
    job.affinity.usedAt = performance.now()
  }

  #drop (job: SlotJob): void {
    this.#waiting.drop(job)
    this.#finish(job)
  }

  #refuse (job: SlotJob, why: string): void {
    job.task.refuse(new RpcError(RpcCode.BUSY, why, { code: 'BUSY', retryAfter: RETRY }))
    this.#finish(job)
  }

  #finish (job: SlotJob): void {
    if (job.isOver) return
    job.isOver = true
    job.task.ended()
    this.ended(job)
  }
}

function isBetter (slot: Slot, than: Slot): boolean {
  if (slot.isBackingOff !== than.isBackingOff) return than.isBackingOff
  if (slot.connections.size !== than.connections.size) return slot.connections.size < than.connections.size
  if (slot.hasThread !== than.hasThread) return slot.hasThread
  return slot.size < than.size
}
