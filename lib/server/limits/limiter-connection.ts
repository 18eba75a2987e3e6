import type { RateLimiter } from '../config/server-options.js'
import type { Part } from '../lifecycle/part.js'
import { Readiness } from '../lifecycle/readiness.js'

/** A custom limiter. Several scopes may share it, and it is connected and closed once. */
export class LimiterConnection implements Part {
  readonly limiter: RateLimiter
  readonly #readiness: Readiness
  #connecting: Promise<void> | undefined

  constructor (limiter: RateLimiter) {
    this.limiter = limiter
    this.#readiness = new Readiness('rateLimiter', limiter.connect === undefined)
  }

  /** The promise to wait for before the limiter can be used; undefined if it can be. */
  readonly ready = (): Promise<void> | undefined => this.#readiness.wait()

  /** Makes calls wait for `starting`, which calls `start` later. */
  announce (starting: Promise<unknown>): void {
    if (this.#connecting === undefined) this.#readiness.announce(starting)
  }

  start (): Promise<void> {
    if (this.#connecting === undefined) this.#readiness.announce(this.#connecting = this.#connect())
    return this.#connecting
  }

  async stop (): Promise<void> {
    const connecting = this.#connecting
    if (connecting === undefined) return
    this.#connecting = undefined
    const isConnected = await connecting.then(() => true, () => false) // the caller of `start` handles the error
    // a limiter that did not connect is not closed
    if (isConnected && this.limiter.connect !== undefined) await this.limiter.close?.()
  }

  async #connect (): Promise<void> {
    await this.limiter.connect?.()
    this.#readiness.connected()
  }
}
