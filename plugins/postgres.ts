import { PostgresBackend } from '../lib/backend/postgres/postgres.js'
import type { PostgresBackendOptions } from '../lib/backend/postgres/postgres-options.js'
import { define } from './define.js'

/**
 * Keeps the values, sessions and limits of a scope in Postgres, and carries its events between nodes. It is
 * connected once the plugin has loaded.
 * @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`, `INVALID_OPTION`
 */
export default define<PostgresBackendOptions>('datasole/postgres', ({ core, scope, plugin }, options) => core.provideBackend(scope, new PostgresBackend(options), plugin))
