/** A limit: at most `maxRequests` in any interval of `windowMs`. */
export interface RateLimitRule {
  /** Length of the sliding window in ms. */
  windowMs: number
  /** Maximum of requests in any interval of that length. */
  maxRequests: number
}

/** The decision of a rate limiter. */
export interface RateLimitResult {
  /** Whether the request is admitted. */
  allowed: boolean
  /** Requests that the window still admits. */
  remaining: number
  /** Unix ms at which the bucket is empty again. */
  resetAt: number
  /** ms until the same request would be admitted. */
  retryAfter?: number
}

/**
 * An exact sliding window: it remembers admitted requests, as runs of (tick, cost), for as long as
 * that counts. No interval of `windowMs` admits more than `maxRequests`; what fits is admitted.
 * Memory: one run per ms in which something was admitted, at most min(windowMs, maxRequests).
 */
export class SlidingWindow {
  /** Ticks (whole ms) at even places, costs at odd ones, oldest first from `#head`. */
  #runs: number[] = []
  #head = 0
  #used = 0

  constructor (public rule: RateLimitRule) {}

  /**
   * @param now whole ms of a clock that never goes back
   * @param cost up to `maxRequests`
   * @returns 0 and counts the request, or, counting nothing, the ms until it would be admitted
   */
  take (now: number, cost: number): number {
    const wait = this.#wait(now, cost)
    if (wait > 0) return wait
    const runs = this.#runs
    if (runs.length > this.#head && runs[runs.length - 2] === now) runs[runs.length - 1]! += cost
    else runs.push(now, cost)
    this.#used += cost
    return 0
  }

  /** The same, with the circumstances; cost 0 counts nothing and says whether a cost of 1 would fit. */
  consume (now: number, cost: number): RateLimitResult {
    const wait = cost === 0 ? this.#wait(now, 1) : this.take(now, cost)
    const emptyIn = this.#used === 0 ? 0 : this.#runs[this.#runs.length - 2]! + this.rule.windowMs - now
    const result = { allowed: wait === 0, remaining: this.rule.maxRequests - this.#used, resetAt: Date.now() + emptyIn }
    return wait === 0 ? result : { ...result, retryAfter: wait }
  }

  isEmpty (now: number): boolean {
    this.#expire(now)
    return this.#used === 0
  }

  #wait (now: number, cost: number): number {
    this.#expire(now)
    if (this.#used + cost <= this.rule.maxRequests) return 0
    if (cost > this.rule.maxRequests) return this.rule.windowMs
    // the request fits once enough of the oldest runs have left the window
    const runs = this.#runs
    let excess = this.#used + cost - this.rule.maxRequests
    let i = this.#head
    while ((excess -= runs[i + 1]!) > 0) i += 2
    return runs[i]! + this.rule.windowMs - now
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
