import { PostgresBackend } from '../lib/backend/postgres/postgres.js'
import type { PostgresBackendOptions } from '../lib/backend/postgres/postgres-options.js'
import { define } from './define.js'

/**
 * Gives a scope a Postgres backend: it stores values, sessions and rate limits, and sends events to other nodes. It is
 * connected once the plugin has loaded.
 * @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`, `INVALID_OPTION`
 */
export default define<PostgresBackendOptions>('datasole/postgres', ({ core, scope, plugin }, options) => core.provideBackend(scope, new PostgresBackend(options), plugin))
