import type { Held } from './affinity.js'
import type { Slot, SlotJob } from './slot.js'

interface Party { held: Held<Slot>, jobs: Set<SlotJob>, timers: Map<SlotJob, NodeJS.Timeout> }

/** Connections that wait for a thread of their own, in order, each with its tasks in order. */
export class WaitingRoom {
  readonly #parties = new Map<Held<Slot>, Party>()
  readonly #timeoutMs: number
  readonly #expired: (job: SlotJob) => void

  /** @param expired told of a task that has waited for `timeoutMs`, and waits no longer */
  constructor (timeoutMs: number, expired: (job: SlotJob) => void) {
    this.#timeoutMs = timeoutMs
    this.#expired = expired
  }

  has (held: Held<Slot>): boolean {
    return this.#parties.has(held)
  }

  add (held: Held<Slot>, job: SlotJob): void {
    let party = this.#parties.get(held)
    if (party === undefined) this.#parties.set(held, party = { held, jobs: new Set(), timers: new Map() })
    party.jobs.add(job)
    party.timers.set(job, setTimeout(() => {
      this.drop(job)
      this.#expired(job)
    }, this.#timeoutMs))
  }

  /** One task waits no longer. */
  drop (job: SlotJob): void {
    const party = job.held && this.#parties.get(job.held)
    if (party?.jobs.delete(job) !== true) return
    clearTimeout(party.timers.get(job))
    party.timers.delete(job)
    if (party.jobs.size === 0) this.#parties.delete(party.held)
  }

  /** The connection that has waited longest, with what it waits for. */
  next (): { held: Held<Slot>, jobs: Iterable<SlotJob> } | undefined {
    const [held] = this.#parties.keys()
    return held && { held, jobs: this.leave(held) }
  }

  /** A connection waits no longer. */
  leave (held: Held<Slot>): SlotJob[] {
    const party = this.#parties.get(held)
    if (party === undefined) return []
    this.#parties.delete(held)
    for (const timer of party.timers.values()) clearTimeout(timer)
    return [...party.jobs]
  }

  /** Nobody waits any longer. */
  close (): SlotJob[] {
    return [...this.#parties.keys()].flatMap((held) => this.leave(held))
  }
}
