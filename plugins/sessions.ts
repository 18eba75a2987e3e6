import type { SessionOptions } from '../lib/server/config/server-options.js'
import { resolveSession } from '../lib/server/config/settings.js'
import { SESSIONS } from '../lib/server/scope/services.js'
import { define } from './define.js'

/**
 * Gives a scope separate sessions, stored in its backend.
 * @throws DatasoleError `INVALID_OPTION`
 */
export default define<SessionOptions>('datasole/sessions', ({ scope, plugin }, options) => {
  scope.provide(SESSIONS, resolveSession(options), plugin)
})
