import type { Affinity } from './affinity.js'
import type { Slot, SlotJob } from './slot.js'

interface Pending { affinity: Affinity<Slot>, jobs: Set<SlotJob>, timers: Map<SlotJob, NodeJS.Timeout> }

/** A queue of connections that wait for a free thread, each with a queue of tasks. */
export class PendingConnections {
  readonly #pending = new Map<Affinity<Slot>, Pending>()
  readonly #timeoutMs: number
  readonly #expired: (job: SlotJob) => void

  /** @param expired gets each task that was removed because it waited for `timeoutMs` */
  constructor (timeoutMs: number, expired: (job: SlotJob) => void) {
    this.#timeoutMs = timeoutMs
    this.#expired = expired
  }

  has (affinity: Affinity<Slot>): boolean {
    return this.#pending.has(affinity)
  }

  add (affinity: Affinity<Slot>, job: SlotJob): void {
    let pending = this.#pending.get(affinity)
    if (pending === undefined) this.#pending.set(affinity, pending = { affinity, jobs: new Set(), timers: new Map() })
    pending.jobs.add(job)
    pending.timers.set(job, setTimeout(() => {
      this.drop(job)
      this.#expired(job)
    }, this.#timeoutMs))
  }

  drop (job: SlotJob): void {
    const pending = job.affinity && this.#pending.get(job.affinity)
    if (pending?.jobs.delete(job) !== true) return
    clearTimeout(pending.timers.get(job))
    pending.timers.delete(job)
    if (pending.jobs.size === 0) this.#pending.delete(pending.affinity)
  }

  /** Removes the connection that has waited longest. @returns it, with its tasks */
  next (): { affinity: Affinity<Slot>, jobs: Iterable<SlotJob> } | undefined {
    const [affinity] = this.#pending.keys()
    return affinity && { affinity, jobs: this.leave(affinity) }
  }

  /** Removes a connection. @returns its tasks */
  leave (affinity: Affinity<Slot>): SlotJob[] {
    const pending = this.#pending.get(affinity)
    if (pending === undefined) return []
    this.#pending.delete(affinity)
    for (const timer of pending.timers.values()) clearTimeout(timer)
    return [...pending.jobs]
  }

  /** Removes every connection. @returns their tasks */
  close (): SlotJob[] {
    return [...this.#pending.keys()].flatMap((affinity) => this.leave(affinity))
  }
}
