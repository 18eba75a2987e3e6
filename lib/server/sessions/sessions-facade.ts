import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { userOf } from '../config/checks.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { SessionListener, Sessions } from './sessions.js'

/**
 * `ds.primitives.sessions`: what is kept for a user beyond connections. It is read and written at once in
 * the copy that this node has loaded; the backend follows (`flushThreshold`, `flushIntervalMs`), where of
 * two writes of a field the later one wins. Values are JSON, copied in and out; a session may have 256 KiB.
 * A copy goes where its user has no connection here, no `onConnect` hook is letting one in, and nothing waits:
 * 60 s after its last use, two where it was never restored, or sooner where 10,000 such are here.
 *
 * Every method throws (or rejects with) DatasoleError `NO_USER_ID` for a user without an id, and TypeError
 * `INVALID_ARGUMENT` for an id or key that is no string.
 */
export class SessionsFacade<S> extends ScopedFacade<S> {
  readonly #sessionsOf: (scope: Scope, user: string) => Sessions

  constructor (sessionsOf: (scope: Scope, user: string) => Sessions, server: S, scope: Scope) {
    super(server, scope)
    this.#sessionsOf = sessionsOf
  }

  get #sessions (): Sessions { return this.#sessionsOf(this.scope, 'sessions') }

  /**
   * Loads the session of a connection's user, as the backend has it now; with `ttlMs` its term begins anew.
   * @param connection of a hook or handler, or `{ userId }`
   * @returns a copy of all fields
   * @throws DatasoleError `NO_USER_ID`; as the backend does
   */
  async restore<T = Record<string, unknown>> (connection: { readonly userId?: string | undefined }): Promise<Partial<T>> {
    return await this.#sessions.restore(userOf(connection)) as Partial<T>
  }

  /**
   * A copy of a field's value; undefined where there is none, or the session has not been restored on this node.
   * @throws DatasoleError `NO_USER_ID`
   */
  get<T = unknown> (userId: string, key: string): T | undefined {
    return this.#sessions.get(userId, key) as T | undefined
  }

  /**
   * Sets a field, also for users whose session is not loaded: then it is merged with what there is.
   * @param value plain JSON; a copy is kept
   * @throws TypeError `INVALID_JSON` for what JSON cannot hold, with its path
   * @throws RangeError `TOO_DEEP`, or `LIMIT_EXCEEDED` for a session over 256 KiB
   * @throws DatasoleError `NO_USER_ID`; `BUSY` where the changes of 10,000 users without a connection here wait
   *   already; `CLOSED`
   */
  set (userId: string, key: string, value: unknown): void {
    this.#sessions.set(userId, key, value)
  }

  /**
   * Deletes a field.
   * @returns whether it was there, as far as this node has loaded it; if it has not, the field is deleted all the same
   * @throws DatasoleError `NO_USER_ID`, `BUSY`, `CLOSED`
   */
  delete (userId: string, key: string): boolean {
    return this.#sessions.delete(userId, key)
  }

  /**
   * Resolves once the backend has all that was written before. Rejects as the backend does; what was written
   * is not lost by that, but tried again.
   * @throws DatasoleError `NO_USER_ID`; as the backend does
   */
  flush (userId: string): Promise<void> {
    return this.#sessions.flush(userId)
  }

  /**
   * `fn(userId, key, value, version)` hears of every change: those of this node at once, those of others
   * while the session is loaded here. A deletion is `undefined`; `version` grows with each write of a field.
   * @returns ends it
   * @throws DatasoleError `NOT_ENABLED` without the option `session: { enableChangeStream: true }`
   */
  onChange (fn: SessionListener): Unsubscribe {
    return this.#sessions.onChange(fn)
  }
}
