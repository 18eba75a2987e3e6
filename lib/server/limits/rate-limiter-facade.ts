import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import { checkKey, checkRequest } from './default-rate-limiter.js'
import type { Limits } from './limits.js'

/**
 * `ds.primitives.rateLimiter`: sliding windows for server code, shared by all nodes and separate from the limits on
 * frames. If the backend fails, calls reject: `onBackendError` applies to frames only. A key is one bucket, whatever
 * the rule, so use two keys for windows of two lengths.
 */
export class RateLimiterFacade<S> extends ScopedFacade<S> {
  readonly #limitsOf: (scope: Scope, user: string) => Limits

  constructor (limitsOf: (scope: Scope, user: string) => Limits, server: S, scope: Scope) {
    super(server, scope)
    this.#limitsOf = limitsOf
  }

  /**
   * Tests whether a cost of 1 would be admitted. It counts nothing.
   * @param key the bucket
   * @param rule `windowMs` (ms, from 1) and `maxRequests` (from 0)
   * @throws TypeError `INVALID_ARGUMENT` for a wrong key or rule; as the backend does
   */
  async check (key: string, rule: RateLimitRule): Promise<RateLimitResult> {
    checkRequest(key, rule)
    const { limiter, ready } = this.#limitsOf(this.scope, 'rateLimiter.check')
    await ready()
    return await limiter.check(`app:${key}`, rule)
  }

  /**
   * Counts a cost if it is admitted.
   * @param key the bucket
   * @param rule `windowMs` (ms, from 1) and `maxRequests` (from 0)
   * @param cost a whole number from 0; default 1
   * @throws TypeError `INVALID_ARGUMENT` for a wrong key, rule or cost; as the backend does
   * @throws RangeError `INVALID_ARGUMENT` if `cost` is over `rule.maxRequests`
   */
  async consume (key: string, rule: RateLimitRule, cost = 1): Promise<RateLimitResult> {
    checkRequest(key, rule, cost)
    const { limiter, ready } = this.#limitsOf(this.scope, 'rateLimiter.consume')
    await ready()
    return await limiter.consume(`app:${key}`, rule, cost)
  }

  /**
   * Empties a bucket.
   * @param key the bucket
   * @throws TypeError `INVALID_ARGUMENT`; as the backend does
   */
  async reset (key: string): Promise<void> {
    checkKey(key)
    const { limiter, ready } = this.#limitsOf(this.scope, 'rateLimiter.reset')
    await ready()
    await limiter.reset(`app:${key}`)
  }
}
