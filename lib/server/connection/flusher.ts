/** An object with buffered output. */
export interface Flushable { flush (): void }

/** A subscription whose client is not up to date. */
export interface Stale {
  /** Sends the client a catch-up; returns false if there is no room for it yet. */
  catchUp (): boolean
}

/** Sockets written per turn of the event loop: about 1 ms of work, so that a large fan-out does not block reads. */
const CHUNK = 128

/**
 * Flushes connections once per turn, so that all messages of one tick leave a socket in one write. It runs right after
 * the code that queued them, so batching needs no timer and adds no latency.
 */
export class Flusher {
  #dirty: Flushable[] = []
  #next = 0
  #scheduled = false
  #after: Array<() => void> = []

  /** Schedules a flush. A connection must not be added again before its `flush` has run. */
  add (connection: Flushable): void {
    this.#dirty.push(connection)
    if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.#pass)
    }
  }

  /** Calls `fn`, which must not throw, after everything that is queued now is written. */
  afterPass (fn: () => void): void {
    if (this.#scheduled) this.#after.push(fn)
    else fn()
  }

  readonly #pass = (): void => {
    const end = Math.min(this.#next + CHUNK, this.#dirty.length)
    try {
      while (this.#next < end) this.#dirty[this.#next++]!.flush()
    } finally {
      // if one flush throws, the other connections are still flushed
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
