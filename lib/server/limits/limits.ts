import type { RateLimits } from '../config/settings.js'
import type { RateLimiter } from '../config/server-options.js'
import type { Logger } from '../context/logger.js'
import type { Part } from '../lifecycle/part.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Storage } from '../store/storage.js'
import { DefaultRateLimiter } from './default-rate-limiter.js'
import { FrameLimiter } from './frame-limiter.js'
import type { LimiterConnection } from './limiter-connection.js'

/** The rate limits of a scope: the limits on frames, and the limiter that nodes share. */
export class Limits implements Part {
  readonly limiter: RateLimiter
  readonly frameLimiter: FrameLimiter
  /** The promise to wait for before `limiter` can be used; undefined if it can be. */
  readonly ready: () => Promise<void> | undefined

  /**
   * @param own a custom limiter; undefined for one in the scope's backend
   * @param namespace prefix of the names of buckets, so that two scopes never share one
   */
  constructor (rules: RateLimits | false, own: LimiterConnection | undefined, storage: Storage, namespace: string, metrics: Metrics, log: Logger) {
    this.limiter = own?.limiter ?? new DefaultRateLimiter(storage.backend)
    this.ready = own?.ready ?? storage.ready
    this.frameLimiter = new FrameLimiter(rules, this.limiter, own === undefined, namespace, metrics, log)
  }

  stop (): void {
    this.frameLimiter.close()
  }
}
