/** Something with output that waits. */
export interface Flushable { flush (): void }

/** A subscription whose client is behind. */
export interface Stale {
  /** Sends what brings the client up to date; false where there is no room for it yet. */
  catchUp (): boolean
}

/** Sockets written per turn of the event loop: about a millisecond, so that a large fan-out does not stall reads. */
const CHUNK = 128

/**
 * Writes what waits, once per turn: everything that one tick produced for a socket leaves in one
 * write. It runs right after the code that queued, so batching adds no timer and no latency.
 */
export class Flusher {
  #dirty: Flushable[] = []
  #next = 0
  #scheduled = false
  #after: Array<() => void> = []

  /** Called once per connection until its `flush` ran. */
  add (connection: Flushable): void {
    this.#dirty.push(connection)
    if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.#pass)
    }
  }

  /** Calls `fn`, which must not throw, once all that waits now is written. */
  afterPass (fn: () => void): void {
    if (this.#scheduled) this.#after.push(fn)
    else fn()
  }

  readonly #pass = (): void => {
    const end = Math.min(this.#next + CHUNK, this.#dirty.length)
    try {
      while (this.#next < end) this.#dirty[this.#next++]!.flush()
    } finally {
      // whatever one of them throws, the others go on
      if (this.#next < this.#dirty.length) {
        setImmediate(this.#pass)
      } else {
        this.#dirty = []
        this.#next = 0
        this.#scheduled = false
        if (this.#after.length > 0) for (const fn of this.#after.splice(0)) fn()
      }
    }
  }
}
