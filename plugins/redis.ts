import { RedisBackend } from '../lib/backend/redis/redis.js'
import type { RedisBackendOptions } from '../lib/backend/redis/redis-client.js'
import { define } from './define.js'

/**
 * Keeps the values, sessions and limits of a scope in Redis, and carries its events between nodes. It is connected
 * once the plugin has loaded.
 * @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`, `INVALID_OPTION`
 */
export default define<RedisBackendOptions>('datasole/redis', ({ core, scope, plugin }, options) => core.provideBackend(scope, new RedisBackend(options), plugin))
