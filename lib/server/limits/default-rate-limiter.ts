import type { StateBackend } from '../../backend/backend.js'
import { coded, invalidArgument } from '../../protocol/errors.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import { SlidingWindows } from '../../protocol/sliding-windows.js'
import type { RateLimiter } from '../config/server-options.js'

/** Prefix of each bucket's name, because a backend's `delete` also deletes values. */
const PREFIX = 'rate:'

/**
 * An exact sliding window in a backend. Each decision is one atomic call, so all nodes of the backend share the limit.
 * If the backend has no `consume`, this instance counts by itself, up to 100,000 keys.
 */
export class DefaultRateLimiter implements RateLimiter {
  readonly #backend: StateBackend
  readonly #own = new SlidingWindows()

  constructor (backend: StateBackend) {
    this.#backend = backend
  }

  /** Implements `RateLimiter.check`. @throws TypeError `INVALID_ARGUMENT`; as the backend does */
  async check (key: string, rule: RateLimitRule): Promise<RateLimitResult> {
    checkRequest(key, rule)
    return await this.decide(key, rule, 0)
  }

  /**
   * Implements `RateLimiter.consume`.
   * @param cost a whole number from 0; default 1
   * @throws TypeError `INVALID_ARGUMENT`; RangeError `INVALID_ARGUMENT` if `cost` is over `rule.maxRequests`; as the
   *   backend does
   */
  async consume (key: string, rule: RateLimitRule, cost = 1): Promise<RateLimitResult> {
    checkRequest(key, rule, cost)
    return await this.decide(key, rule, cost)
  }

  /** Implements `RateLimiter.reset`. @throws TypeError `INVALID_ARGUMENT`; as the backend does */
  async reset (key: string): Promise<void> {
    checkKey(key)
    if (this.#backend.consume === undefined) this.#own.delete(key)
    else await this.#backend.delete(PREFIX + key)
  }

  /** Connects the backend. */
  async connect (): Promise<void> { await this.#backend.connect?.() }
  /** Closes the backend. */
  async close (): Promise<void> { await this.#backend.close?.() }

  /** @internal Decides synchronously if the backend can. A cost over `maxRequests` counts nothing, and is refused. */
  decide (key: string, rule: RateLimitRule, cost: number): RateLimitResult | Promise<RateLimitResult> {
    const fitting = cost > rule.maxRequests ? 0 : cost
    if (this.#backend.consume !== undefined) return this.#backend.consume(PREFIX + key, rule, fitting)
    const now = Math.floor(performance.now())
    return this.#own.get(key, rule, now).consume(now, fitting)
  }
}

/**
 * Checks a request of server code.
 * @throws TypeError for a wrong key or rule, RangeError for a cost that can never be admitted
 */
export function checkRequest (key: string, rule: RateLimitRule, cost = 0): void {
  checkKey(key)
  if (!Number.isSafeInteger(rule?.windowMs) || rule.windowMs < 1 || !Number.isSafeInteger(rule.maxRequests) || rule.maxRequests < 0) {
    throw invalidArgument('rateLimiter: the rule must be { windowMs, maxRequests }, whole numbers from 1 and from 0')
  }
  if (!Number.isSafeInteger(cost) || cost < 0) throw invalidArgument(`rateLimiter: the cost must be a whole number from 0, not ${String(cost)}`)
  if (cost > rule.maxRequests) throw coded(new RangeError(`rateLimiter: a cost of ${cost} is over maxRequests (${rule.maxRequests})`), 'INVALID_ARGUMENT')
}

/** @throws TypeError */
export function checkKey (key: string): void {
  if (typeof key !== 'string') throw invalidArgument('rateLimiter: the key must be a string')
}
