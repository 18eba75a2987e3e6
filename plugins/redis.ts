import { RedisBackend } from '../lib/backend/redis/redis.js'
import type { RedisBackendOptions } from '../lib/backend/redis/redis-client.js'
import { define } from './define.js'

/**
 * Gives a scope a Redis backend: it stores values, sessions and rate limits, and sends events to other nodes. It is
 * connected once the plugin has loaded.
 * @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`, `INVALID_OPTION`
 */
export default define<RedisBackendOptions>('datasole/redis', ({ core, scope, plugin }, options) => core.provideBackend(scope, new RedisBackend(options), plugin))
