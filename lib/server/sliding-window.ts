import type { RateLimitRule } from './options.js'

/**
 * An exact sliding window: it remembers what it admitted, as runs of (tick, cost), for as long as
 * that counts. No interval of `windowMs` admits more than `maxRequests`; what fits is admitted.
 * Memory: one run per ms in which something was admitted, at most min(windowMs, maxRequests).
 */
export class SlidingWindow {
  /** Ticks (whole ms) at even places, costs at odd ones, oldest first from `#head`. */
  #runs: number[] = []
  #head = 0
  #used = 0

  constructor (readonly rule: RateLimitRule) {}

  /**
   * @param now whole ms of a clock that never goes back
   * @param cost up to `maxRequests`
   * @returns 0 and counts the request, or, counting nothing, the ms until it would be admitted
   */
  take (now: number, cost: number): number {
    this.#expire(now)
    const runs = this.#runs
    if (this.#used + cost <= this.rule.maxRequests) {
      if (runs.length > this.#head && runs[runs.length - 2] === now) runs[runs.length - 1]! += cost
      else runs.push(now, cost)
      this.#used += cost
      return 0
    }
    if (cost > this.rule.maxRequests) return this.rule.windowMs
    // the request fits once enough of the oldest runs have left the window
    let excess = this.#used + cost - this.rule.maxRequests
    let i = this.#head
    while ((excess -= runs[i + 1]!) > 0) i += 2
    return runs[i]! + this.rule.windowMs - now
  }

  isEmpty (now: number): boolean {
    this.#expire(now)
    return this.#used === 0
  }

  #expire (now: number): void {
    const runs = this.#runs
    const oldest = now - this.rule.windowMs
    while (this.#head < runs.length && runs[this.#head]! <= oldest) {
      this.#used -= runs[this.#head + 1]!
      this.#head += 2
    }
    if (this.#head > 64 && this.#head * 2 > runs.length) {
      this.#runs = runs.slice(this.#head)
      this.#head = 0
    }
  }
}

/** A connection's own windows, by rule, and how often it was refused of late. */
export class Buckets {
  readonly windows = new Map<string, SlidingWindow>()
  /** By bucket, so that a rule with a short window does not start another's count anew. */
  readonly refusals = new Map<string, { since: number, count: number }>()
}
