import type { StateBackend } from '../lib/backend/backend.js'
import { invalid } from '../lib/server/config/checks.js'
import { checkStateBackend } from '../lib/server/config/settings.js'
import { define } from './define.js'

/** Options of the plugin `datasole/backend`. */
export interface BackendPluginOptions {
  /** An instance of one of datasole's backends, or of your own. */
  stateBackend: StateBackend
}

/**
 * Gives a scope the backend `stateBackend`.
 * @throws DatasoleError `INVALID_OPTION`; the errors of the backend's `connect`
 */
export default define<BackendPluginOptions>('datasole/backend', async ({ core, scope, plugin }, { stateBackend }) => {
  if (stateBackend === undefined) throw invalid('stateBackend', 'is missing: datasole/backend takes { stateBackend }')
  await core.provideBackend(scope, checkStateBackend(stateBackend)!, plugin)
})
