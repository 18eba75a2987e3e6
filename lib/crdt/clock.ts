/** Timestamps per millisecond. Any more continue in the next millisecond. */
const TICKS = 1024

/** The latest accepted wall clock time, in the year 2248. It leaves room for half a trillion later timestamps. */
const LATEST = 2 ** 53 - 2 ** 40
const END = 2 ** 53 - 2 ** 39

/**
 * A hybrid logical clock (Kulkarni et al., 2014). It follows the wall clock, unless an own or observed timestamp is
 * ahead of it. So a write is later than every write that its node has seen, even if clocks are wrong or jump.
 */
export class HybridClock {
  /** The node's unique name, which breaks ties between equal timestamps. */
  readonly node: string
  readonly #now: () => number
  #last = 0

  /** @param now the wall clock, in ms; default Date.now */
  constructor (now: () => number = () => Date.now(), node = randomNode()) {
    this.#now = now
    this.node = node
  }

  /** @returns a timestamp later than all earlier ones */
  tick (): number {
    return (this.#last = Math.max(Math.min(this.#now() * TICKS, LATEST), this.#last + 1))
  }

  /** Observes a timestamp of another node. */
  see (time: number): void {
    this.#last = Math.max(this.#last, bounded(time))
  }
}

/** Bounds a stored timestamp, because a write from the year 9999 would win forever. */
export function bounded (time: number): number {
  return time < END ? time : LATEST
}

/** Adds `ms` milliseconds to a timestamp. */
export function addMs (time: number, ms: number): number {
  return time + ms * TICKS
}

/** Converts a timestamp to Unix time in ms, the form on the wire. The fraction keeps the ticks exactly. */
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
