import type { Logger } from '../context/logger.js'

/** Keys that are read together. Many may be out of date when a backend comes back. */
const CHUNK = 100

/** ms before keys that could not be read are read again. */
const RETRY = 1000

/** Reads the keys of a node that may be out of date, until it succeeds. */
export class CatchUp {
  readonly #behind = new Set<string>()
  readonly #refresh: (key: string) => Promise<void>
  readonly #log: Logger
  readonly #closing = new AbortController()
  #isRunning = false
  /** The next attempt does not wait: nothing has failed, or `add` was called since the last one began. */
  #isDue = false
  #hasFailed = false
  /** Ends the wait between attempts. */
  #wake = (): void => {}

  constructor (refresh: (key: string) => Promise<void>, log: Logger) {
    this.#refresh = refresh
    this.#log = log
  }

  /** Reads keys at once, together with those that failed before, because the backend may be back. */
  add (keys: Iterable<string>): void {
    for (const key of keys) this.#behind.add(key)
    this.#isDue = true
    this.#wake()
    if (!this.#isRunning) void this.#run()
  }

  /** Retries a key that could not be read. The error is logged once, until all keys are up to date. */
  failed (key: string, error: unknown): void {
    if (this.#closing.signal.aborted) return
    if (!this.#hasFailed) this.#log.error({ err: error, key }, 'a key could not be read again; its clients stay behind until the server can read it')
    this.#hasFailed = true
    this.#behind.add(key)
    if (!this.#isRunning) void this.#run()
  }

  close (): void {
    this.#behind.clear()
    this.#closing.abort()
    this.#wake()
  }

  async #run (): Promise<void> {
    this.#isRunning = true
    while (this.#behind.size > 0 && !this.#closing.signal.aborted) {
      if (!this.#isDue) await this.#pause()
      this.#isDue = false
      const keys = [...this.#behind].slice(0, CHUNK)
      for (const key of keys) this.#behind.delete(key)
      const outcomes = await Promise.all(keys.map((key) => this.#refresh(key).then(() => true, (error: unknown) => {
        this.failed(key, error)
        return false
      })))
      if (!outcomes.includes(false)) this.#isDue = true
    }
    this.#isRunning = this.#isDue = this.#hasFailed = false
  }

  #pause (): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, RETRY).unref()
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }
}
