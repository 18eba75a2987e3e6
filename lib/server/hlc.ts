import { randomBytes } from 'node:crypto'

/** Timestamps in one millisecond; more of them borrow from the next. */
const TICKS = 1024

/** The latest that a wall clock can say, in the year 2248; after it there is room for half a trillion timestamps. */
const LATEST = 2 ** 53 - 2 ** 40
const END = 2 ** 53 - 2 ** 39

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
  constructor (now: () => number = () => Date.now()) {
    this.#now = now
  }

  /** A timestamp that is later than all before. */
  tick (): number {
    return (this.#last = Math.max(Math.min(this.#now() * TICKS, LATEST), this.#last + 1))
  }

  /** A timestamp of another node. */
  see (time: number): void {
    this.#last = Math.max(this.#last, bounded(time))
  }
}

/** A stored timestamp as one after which others can come: one of the year 9999 would be the last for ever. */
export function bounded (time: number): number {
  return time < END ? time : LATEST
}

/** What a timestamp becomes after so many ms. */
export function addMs (time: number, ms: number): number {
  return time + ms * TICKS
}
