import { CloseCode } from '../../protocol/codes.js'
import { notSynchronous } from '../../protocol/errors.js'
import { type RateLimitRule, SlidingWindow } from '../../protocol/sliding-window.js'
import { Buckets } from '../connection/buckets.js'
import type { Connection } from '../connection/connection.js'
import type { Charge, FrameLimits, Limit } from '../connection/frame-handler.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { RateLimiter } from '../config/server-options.js'
import type { RateLimits } from '../config/settings.js'
import type { Wait } from '../connection/inbound-queue.js'
import { SharedLimit } from './shared-limit.js'

const UNLIMITED: RateLimitRule = { windowMs: 1, maxRequests: 0 }

/**
 * Decides on every frame that a rate limit counts. This process counts in a connection's own bucket. The limiter counts
 * in buckets that a `keyExtractor` names, and a custom limiter counts in all.
 */
export class FrameLimiter implements FrameLimits {
  readonly subscriptions: Limit
  readonly #limits: RateLimits | false
  readonly #default: Limit
  readonly #named = new Map<string, Limit>()
  readonly #shared: SharedLimit | undefined
  readonly #isOwn: boolean
  readonly #metrics: Metrics
  readonly #now: () => number

  /**
   * @param isOwn whether connections keep their own buckets in this process
   * @param namespace prefix of the names of buckets
   * @param now monotonic ms, so that a jump of the wall clock neither opens nor blocks a limit
   */
  constructor (limits: RateLimits | false, limiter: RateLimiter, isOwn: boolean, namespace: string, metrics: Metrics, log: Logger, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#isOwn = isOwn
    this.#metrics = metrics
    this.#now = now
    const { defaultRule = UNLIMITED, subscribeRule = UNLIMITED, rules = [] } = limits === false ? {} : limits
    this.#default = { name: namespace, rule: defaultRule }
    // cannot collide with a named rule: the settings take `$subscribe` out of them
    this.subscriptions = { name: `${namespace}$subscribe`, rule: subscribeRule }
    for (const [name, rule] of rules) this.#named.set(name, { name: namespace + name, rule })
    if (limits !== false) this.#shared = new SharedLimit(limiter, limits, metrics, log, now)
  }

  limitOf (name: string): Limit {
    return this.#named.get(name) ?? this.#default
  }

  /**
   * Counts a frame.
   * @throws whatever the keyExtractor throws; TypeError if it returns no string
   * @returns 0 if the frame is admitted, else the ms until it would be; a promise, which never rejects, if a store
   *   decides
   */
  admit<M> (connection: Connection, { name: bucket, rule }: Limit, charge: Charge<M>, message: M): Wait | Promise<Wait> {
    if (this.#limits === false) return 0
    const { keyExtractor } = this.#limits
    if (keyExtractor === undefined && this.#isOwn) return this.#own(connection, bucket, rule).take(Math.floor(this.#now()), 1)
    // an HTTP user has one name, although each request is a connection of its own
    const name = connection.work.buckets?.name ?? connection.id
    const key: unknown = keyExtractor === undefined ? name : keyExtractor(name, charge.knownAs(message), connection.context)
    // converted to a string, a promise or undefined would name one bucket that everybody shares
    if (typeof key !== 'string') throw notSynchronous('rateLimit.keyExtractor', 'a string', key)
    return this.#shared!.take(`frames:${bucket}\n${key}`, rule)
  }

  /** Counts a refusal. Closes a client with more than max(1,000, 10 × maxRequests) refusals within a window. */
  refused (connection: Connection, { name, rule }: Limit = this.#default): void {
    this.#metrics.rateLimited++
    const now = Math.floor(this.#now())
    const { refusals } = (connection.work.buckets ??= new Buckets())
    let refused = refusals.get(name)
    if (refused === undefined || now - refused.since >= rule.windowMs) refusals.set(name, refused = { since: now, count: 0 })
    if (++refused.count > Math.max(1000, 10 * rule.maxRequests)) connection.close(CloseCode.RATE_LIMITED, 'rate limit exceeded persistently')
  }

  close (): void {
    this.#shared?.close()
  }

  #own (connection: Connection, bucket: string, rule: RateLimitRule): SlidingWindow {
    const { windows } = (connection.work.buckets ??= new Buckets())
    let window = windows.get(bucket)
    if (window === undefined) windows.set(bucket, window = new SlidingWindow(rule))
    return window
  }
}
