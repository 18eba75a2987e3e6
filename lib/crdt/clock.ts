/** Timestamps per millisecond. Further ones run into the next millisecond. */
const TICKS = 1024

/** The latest wall clock time, in the year 2248. It leaves room for half a trillion later timestamps. */
const LATEST = 2 ** 53 - 2 ** 40
const END = 2 ** 53 - 2 ** 39

/**
 * A hybrid logical clock (Kulkarni et al., 2014): the wall clock, unless an own or observed timestamp is ahead of
 * it. A write is therefore later than every write that its node has seen, even if clocks are wrong or jump.
 */
export class HybridClock {
  /** Breaks ties between equal timestamps. */
  readonly node: string
  readonly #now: () => number
  #last = 0

  /** @param now the wall clock, in ms; default Date.now */
  constructor (now: () => number = () => Date.now(), node = randomNode()) {
    this.#now = now
    this.node = node
  }

  /** @returns a timestamp later than all before */
  tick (): number {
    return (this.#last = Math.max(Math.min(this.#now() * TICKS, LATEST), this.#last + 1))
  }

  /** Observes a timestamp of another node. */
  see (time: number): void {
    this.#last = Math.max(this.#last, bounded(time))
  }
}

/** Bounds a stored timestamp, so that later ones are possible: one of the year 9999 would win for ever. */
export function bounded (time: number): number {
  return time < END ? time : LATEST
}

/** A timestamp, moved by `ms`. */
export function addMs (time: number, ms: number): number {
  return time + ms * TICKS
}

/** A timestamp as Unix time in ms, as on the wire. The fraction counts within the millisecond, exactly. */
export function toMs (time: number): number {
  return time / TICKS
}

/** The first timestamp at or after a Unix time in ms. Version 1 clients send whole ms. */
export function fromMs (ms: number): number {
  return Math.ceil(ms * TICKS)
}

interface Random { crypto: { getRandomValues (bytes: Uint8Array): Uint8Array } }

/** A unique name of a node: 72 random bits in 12 characters. */
export function randomNode (): string {
  const bytes = (globalThis as unknown as Random).crypto.getRandomValues(new Uint8Array(12))
  return Array.from(bytes, (byte) => ALPHABET[byte & 63]).join('')
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
