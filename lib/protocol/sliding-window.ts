/** A limit: at most `maxRequests` in any interval of `windowMs`. */
export interface RateLimitRule {
  /** Length of the sliding window in ms. */
  windowMs: number
  /** Maximum number of requests in any window. */
  maxRequests: number
}

/** The decision of a rate limiter. */
export interface RateLimitResult {
  /** Whether the request is allowed. */
  allowed: boolean
  /** Number of requests that the window still allows. */
  remaining: number
  /** Unix time in ms at which the window is empty again. */
  resetAt: number
  /** ms until the same request would be allowed. */
  retryAfter?: number
}

/**
 * An exact sliding window. It stores allowed requests as runs of (tick, cost) until they leave the window. No interval
 * of `windowMs` has more than `maxRequests`, and every request that fits is allowed.
 * Memory: one run per ms with an allowed request, at most min(windowMs, maxRequests) runs.
 */
export class SlidingWindow {
  /** Ticks (whole ms) at even indices and costs at odd ones, from `#head` on, oldest first. */
  #runs: number[] = []
  #head = 0
  #used = 0

  constructor (public rule: RateLimitRule) {}

  /**
   * Counts the request if it is allowed.
   * @param now whole ms of a monotonic clock
   * @param cost up to `maxRequests`
   * @returns 0 if the request is allowed, else the ms until it would be
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

  /** Like `take`, with a detailed result. A cost of 0 counts nothing, and tests whether a cost of 1 would fit. */
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
