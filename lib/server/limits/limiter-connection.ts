import type { RateLimiter } from '../config/server-options.js'
import type { Part } from '../lifecycle/part.js'
import { Readiness } from '../lifecycle/readiness.js'

/** A limiter of the user's, which several scopes may share: it is connected and closed once. */
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

  /** From now on calls wait for `starting`, which is going to call `start`. */
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
    const isConnected = await connecting.then(() => true, () => false) // the caller of `start` has been told
    // only what was connected is closed
    if (isConnected && this.limiter.connect !== undefined) await this.limiter.close?.()
  }

  async #connect (): Promise<void> {
    await this.limiter.connect?.()
    this.#readiness.connected()
  }
}
