import type { RateLimits } from '../config/settings.js'
import type { RateLimiter } from '../config/server-options.js'
import type { Logger } from '../context/logger.js'
import type { Part } from '../lifecycle/part.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Storage } from '../store/storage.js'
import { DefaultRateLimiter } from './default-rate-limiter.js'
import { FrameLimiter } from './frame-limiter.js'
import type { LimiterConnection } from './limiter-connection.js'

/** The rate limits of a scope: those of frames, and the limiter that counts what nodes share. */
export class Limits implements Part {
  readonly limiter: RateLimiter
  readonly frameLimiter: FrameLimiter
  /** The promise to wait for before `limiter` can be used; undefined if it can be. */
  readonly ready: () => Promise<void> | undefined

  /**
   * @param own a limiter of the user's; undefined for one in the scope's backend
   * @param namespace put before the names of buckets, so that those of two scopes never meet
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
