import { type RateLimitRule, SlidingWindow } from './sliding-window.js'

/** Maximum number of windows. At the limit, a sweep drops empty windows and then the oldest ones. */
const MAX_WINDOWS = 100_000

/** A bounded map of sliding windows by key. */
export class SlidingWindows {
  readonly #windows = new Map<string, SlidingWindow>()
  #sweepAt = 1024

  /** @param now whole ms of a monotonic clock */
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
    // drop at least a tenth at once, so that not every new key needs a sweep
    for (const key of this.#windows.keys()) {
      if (this.#windows.size <= MAX_WINDOWS * 0.9) break
      this.#windows.delete(key)
    }
    this.#sweepAt = Math.min(MAX_WINDOWS, Math.max(1024, this.#windows.size * 2))
  }
}
