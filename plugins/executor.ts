import { resolveExecutor } from '../lib/server/config/executor-settings.js'
import type { ExecutorOptions } from '../lib/server/config/server-options.js'
import { provideExecutor } from '../lib/server/datasole.js'
import { define } from './define.js'
import { WORKER_SCHEMAS } from './schema-compiler.js'

/**
 * Runs a worker script in threads. Its methods and event handlers belong to the scope, with the scope's hooks, limits
 * and backend.
 * @throws DatasoleError `INVALID_OPTION`
 */
export default define<Partial<ExecutorOptions>>('datasole/executor', ({ core, scope, plugin }, options) => {
  provideExecutor(core, scope, resolveExecutor(options), WORKER_SCHEMAS, plugin)
})
