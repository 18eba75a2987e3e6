import { type RateLimitRule, SlidingWindow } from './sliding-window.js'

/** Windows at the most; then those that are empty go, then the oldest. */
const MAX_WINDOWS = 100_000

/** Windows by key: as many as are in use, up to a bound. */
export class SlidingWindows {
  readonly #windows = new Map<string, SlidingWindow>()
  #sweepAt = 1024

  /** @param now whole ms of a clock that never goes back */
  get (key: string, rule: RateLimitRule, now: number): SlidingWindow {
    let window = this.#windows.get(key)
    if (window === undefined) {
      if (this.#windows.size >= this.#sweepAt) this.#sweep(now)
      this.#windows.set(key, window = new SlidingWindow(rule))
    }
    window.rule = rule
    return window
  }

  delete (key: string): void {
    this.#windows.delete(key)
  }

  #sweep (now: number): void {
    for (const [key, window] of this.#windows) if (window.isEmpty(now)) this.#windows.delete(key)
    // a tenth at once: a sweep for each new key would cost more than what it guards
    for (const key of this.#windows.keys()) {
      if (this.#windows.size <= MAX_WINDOWS * 0.9) break
      this.#windows.delete(key)
    }
    this.#sweepAt = Math.min(MAX_WINDOWS, Math.max(1024, this.#windows.size * 2))
  }
}
