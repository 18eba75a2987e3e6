import { CloseCode } from '../protocol/codes.js'
import { type RateLimitRule, SlidingWindow } from '../protocol/sliding-window.js'
import { Buckets } from './buckets.js'
import type { Connection } from './connection.js'
import type { Metrics } from './metrics.js'
import type { RateLimits } from './settings.js'

/** Windows shared through `keyExtractor`, at the most; then those that are full of old requests go, then the oldest. */
const MAX_SHARED = 100_000

/** The bucket of subscriptions; names of rules have no such character. */
const SUBSCRIPTIONS = '\0'

/** Decides on every frame that costs something, synchronously, in this process. */
export class FrameLimiter {
  readonly #limits: RateLimits | false
  readonly #metrics: Metrics
  readonly #now: () => number
  readonly #shared = new Map<string, SlidingWindow>()
  #sweepAt = 1024

  /** @param now monotonic ms, so that a jump of the wall clock neither opens nor shuts the gate */
  constructor (limits: RateLimits | false, metrics: Metrics, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#metrics = metrics
    this.#now = now
  }

  /**
   * Counts a frame.
   * @param name the rule that applies, if there is one of this name
   * @param registered whether server code knows the name
   * @returns 0 where it is admitted, else the ms until it would be
   */
  admit (connection: Connection, name: string, registered: boolean): number {
    const limits = this.#limits
    if (limits === false) return 0
    const named = limits.rules.get(name)
    return named === undefined
      ? this.#count(limits, connection, limits.defaultRule, '', registered ? name : undefined)
      : this.#count(limits, connection, named, name, registered ? name : undefined)
  }

  /** Counts a SUBSCRIBE, in a bucket that no method or event of a client's can be in. */
  admitSubscription (connection: Connection): number {
    const limits = this.#limits
    return limits === false ? 0 : this.#count(limits, connection, limits.subscribeRule, SUBSCRIPTIONS, '$subscribe')
  }

  #count (limits: RateLimits, connection: Connection, rule: RateLimitRule, bucket: string, method: string | undefined): number {
    const now = Math.floor(this.#now())
    const window = limits.keyExtractor === undefined
      ? this.#own(connection, bucket, rule)
      : this.#sharedWindow(`${bucket}\n${limits.keyExtractor(connection.id, method, connection.context)}`, rule, now)
    const wait = window.take(now, 1)
    if (wait > 0) this.#refused(connection, rule, bucket, now)
    return wait
  }

  #own (connection: Connection, bucket: string, rule: RateLimitRule): SlidingWindow {
    const { windows } = (connection.buckets ??= new Buckets())
    let window = windows.get(bucket)
    if (window === undefined) windows.set(bucket, window = new SlidingWindow(rule))
    return window
  }

  #sharedWindow (key: string, rule: RateLimitRule, now: number): SlidingWindow {
    let window = this.#shared.get(key)
    if (window === undefined) {
      if (this.#shared.size >= this.#sweepAt) this.#sweep(now)
      this.#shared.set(key, window = new SlidingWindow(rule))
    }
    return window
  }

  #sweep (now: number): void {
    for (const [key, window] of this.#shared) if (window.isEmpty(now)) this.#shared.delete(key)
    for (const key of this.#shared.keys()) {
      if (this.#shared.size < MAX_SHARED) break
      this.#shared.delete(key)
    }
    this.#sweepAt = Math.min(MAX_SHARED, Math.max(1024, this.#shared.size * 2))
  }

  /** A client that goes on through max(1,000, 10 × maxRequests) refusals within a window is not going to stop. */
  #refused (connection: Connection, rule: RateLimitRule, bucket: string, now: number): void {
    this.#metrics.rateLimited++
    const { refusals } = (connection.buckets ??= new Buckets())
    let refused = refusals.get(bucket)
    if (refused === undefined || now - refused.since >= rule.windowMs) refusals.set(bucket, refused = { since: now, count: 0 })
    if (++refused.count > Math.max(1000, 10 * rule.maxRequests)) connection.close(CloseCode.RATE_LIMITED, 'rate limit exceeded persistently')
  }
}
