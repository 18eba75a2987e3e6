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
  readonly node: string
  readonly #now: () => number
  #last = 0

  /** @param now the wall clock, in ms */
  constructor (now: () => number = () => Date.now(), node = randomNode()) {
    this.#now = now
    this.node = node
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

/** A timestamp, moved by some ms. */
export function addMs (time: number, ms: number): number {
  return time + ms * TICKS
}

/** A timestamp as Unix time in ms, which the wire has: a fraction counts within the millisecond, exactly. */
export function toMs (time: number): number {
  return time / TICKS
}

/** The first timestamp that is not before this Unix time in ms, as clients of version 1 have it, too. */
export function fromMs (ms: number): number {
  return Math.ceil(ms * TICKS)
}

interface Random { crypto: { getRandomValues (bytes: Uint8Array): Uint8Array } }

/** Random enough that no two nodes share it: 72 bits, as 12 characters. */
export function randomNode (): string {
  const bytes = (globalThis as unknown as Random).crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => ALPHABET[byte & 63]).join('')
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
