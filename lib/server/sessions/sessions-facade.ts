import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { userOf } from '../config/checks.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { SessionListener, Sessions } from './sessions.js'

/**
 * `ds.primitives.sessions`: values of a user that outlive connections.
 *
 * A node works on a copy of the session in memory, and writes changes to the backend later (`flushThreshold`,
 * `flushIntervalMs`). Of two writes to one field, the later one wins. Values are JSON, copied in and out. A session may
 * have 256 KiB.
 *
 * A copy is unloaded when its user has no connection on this node and all changes are stored: 60 s after its last use,
 * 2 s if it was never restored, or sooner if the node has 10,000 such copies.
 *
 * Every method throws (or rejects with) DatasoleError `NO_USER_ID` for a user without an id, and TypeError
 * `INVALID_ARGUMENT` for an id or key that is not a string.
 */
export class SessionsFacade<S> extends ScopedFacade<S> {
  readonly #sessionsOf: (scope: Scope, user: string) => Sessions

  constructor (sessionsOf: (scope: Scope, user: string) => Sessions, server: S, scope: Scope) {
    super(server, scope)
    this.#sessionsOf = sessionsOf
  }

  get #sessions (): Sessions { return this.#sessionsOf(this.scope, 'sessions') }

  /**
   * Loads the session of a connection's user from the backend. With `ttlMs`, its time to live starts again.
   * @param connection of a hook or handler, or `{ userId }`
   * @returns a copy of all fields
   * @throws DatasoleError `NO_USER_ID`; as the backend does
   */
  async restore<T = Record<string, unknown>> (connection: { readonly userId?: string | undefined }): Promise<Partial<T>> {
    return await this.#sessions.restore(userOf(connection)) as Partial<T>
  }

  /**
   * Reads a field of the copy in memory.
   * @param userId the user
   * @param key the field
   * @returns a copy of the value; undefined if there is none, or the session was not restored on this node
   * @throws DatasoleError `NO_USER_ID`
   */
  get<T = unknown> (userId: string, key: string): T | undefined {
    return this.#sessions.get(userId, key) as T | undefined
  }

  /**
   * Sets a field. If the session is not loaded, the field is merged with the stored ones.
   * @param userId the user
   * @param key the field
   * @param value plain JSON; the session keeps a copy
   * @throws TypeError `INVALID_JSON` with the path if JSON cannot hold the value
   * @throws RangeError `TOO_DEEP`, or `LIMIT_EXCEEDED` for a session over 256 KiB
   * @throws DatasoleError `NO_USER_ID`; `BUSY` if 10,000 sessions of users without a connection here cannot be
   *   unloaded; `CLOSED`
   */
  set (userId: string, key: string, value: unknown): void {
    this.#sessions.set(userId, key, value)
  }

  /**
   * Deletes a field, even if the session is not loaded.
   * @param userId the user
   * @param key the field
   * @returns whether the loaded copy had the field
   * @throws DatasoleError `NO_USER_ID`, `BUSY`, `CLOSED`
   */
  delete (userId: string, key: string): boolean {
    return this.#sessions.delete(userId, key)
  }

  /**
   * Resolves when the backend has all earlier changes. After a failure the changes are kept and retried.
   * @param userId the user
   * @throws DatasoleError `NO_USER_ID`; as the backend does
   */
  flush (userId: string): Promise<void> {
    return this.#sessions.flush(userId)
  }

  /**
   * Calls a function at every change. Changes of other nodes are seen while the session is loaded on this node.
   * @param fn gets `(userId, key, value, version)`; `value` is undefined for a deletion, `version` grows with each
   *   write
   * @returns ends the subscription
   * @throws DatasoleError `NOT_ENABLED` without the option `session: { enableChangeStream: true }`
   */
  onChange (fn: SessionListener): Unsubscribe {
    return this.#sessions.onChange(fn)
  }
}
