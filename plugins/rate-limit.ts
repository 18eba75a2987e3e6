import type { RateLimitConfig, RateLimiter } from '../lib/server/config/server-options.js'
import { checkRateLimiter, resolveRateLimit } from '../lib/server/config/settings.js'
import { RATE_LIMIT } from '../lib/server/scope/services.js'
import { define } from './define.js'

/** Options of the plugin `datasole/rate-limit`. */
export interface RateLimitPluginOptions extends RateLimitConfig {
  /** A custom limiter, which decides on every frame. Default: sliding windows in this process and in the scope's backend. */
  rateLimiter?: RateLimiter
}

/**
 * Gives the methods, events and keys of a scope separate rate limits.
 * @throws DatasoleError `INVALID_OPTION`
 */
export default define<RateLimitPluginOptions>('datasole/rate-limit', ({ scope, plugin }, { rateLimiter, ...config }) => {
  scope.provide(RATE_LIMIT, { limits: resolveRateLimit(config), limiter: checkRateLimiter(rateLimiter) }, plugin)
})
