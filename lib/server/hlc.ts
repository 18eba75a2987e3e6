import { randomBytes } from 'node:crypto'

/** Timestamps in one millisecond; more of them borrow from the next. Whole numbers hold it until the year 2248. */
const TICKS = 1024

/**
 * A hybrid logical clock: the wall clock, unless a timestamp that was made or seen is ahead of it. So
 * whoever has seen a write writes later than it, however wrong clocks are or however far they jump.
 */
export class HybridClock {
  /** Decides between equal timestamps. */
  readonly node = randomBytes(6).toString('base64url')
  readonly #now: () => number
  #last = 0

  /** @param now the wall clock, in ms */
  constructor (now: () => number = Date.now) {
    this.#now = now
  }

  /** A timestamp that is later than all before. */
  tick (): number {
    return (this.#last = Math.max(this.#now() * TICKS, this.#last + 1))
  }

  /** A timestamp of another node. */
  see (time: number): void {
    if (time > this.#last) this.#last = time
  }
}

/** What a timestamp becomes after so many ms. */
export function addMs (time: number, ms: number): number {
  return time + ms * TICKS
}
