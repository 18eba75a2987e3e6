import { isThenable } from '../../protocol/errors.js'
import { checkFunction } from '../config/checks.js'
import type { Connection } from '../connection/connection.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { Core } from '../core.js'
import { Refusal } from '../errors/refusal.js'
import type { Scope } from '../scope/scope.js'
import { HttpRefusal } from './http-refusal.js'

/** Allows an action that clients on a WebSocket do not have: true, false, or a function that decides. */
export type Permission<About> = boolean | ((connection: ConnectionContext, about: About) => boolean | Promise<boolean>)

/** @throws DatasoleError `INVALID_OPTION` */
export function checkPermission<About> (name: string, permission: Permission<About>): Permission<About> {
  if (typeof permission !== 'boolean') checkFunction(name, permission)
  return permission
}

/** @throws HttpRefusal 403; whatever the function throws */
export async function requirePermission<About> (permission: Permission<About>, { context }: Connection, about: About, option: string): Promise<void> {
  const answer: unknown = typeof permission === 'function' ? permission(context, about) : permission
  // a promise is truthy: only a resolved `true` is a permission
  if ((isThenable(answer) ? await answer : answer) === true) return
  throw HttpRefusal.because(403, 'NOT_ALLOWED', permission === false
    ? `this server does not allow the request: set the option ${option} of datasole/http to true, or to a function that decides`
    : `the option ${option} of datasole/http refused this request: return true to allow it`)
}

/**
 * Counts a request that sends no frame, in the bucket of a frame with the same name.
 * @param name an event or a key
 * @throws Refusal `RATE_LIMITED`
 */
export async function countRequest (core: Core, scope: Scope, connection: Connection, name: string): Promise<void> {
  const limiter = core.limitsOf(scope, 'datasole/http').frameLimiter
  const limit = limiter.limitOf(name)
  const charge = { scopeOf: () => scope, limitOf: () => limit, knownAs: () => name }
  const wait = await limiter.admit(connection, limit, charge, undefined)
  if (wait === 0) return
  limiter.refused(connection, limit)
  throw new Refusal('RATE_LIMITED', 'rate limit exceeded', { retryAfter: wait })
}
