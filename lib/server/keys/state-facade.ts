import type { StateName, StateAt } from '../../protocol/contract.js'
import type { Operation } from '../../protocol/messages.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { StateStore } from '../store/state-store.js'
import type { Recipe } from '../store/write.js'

type ServerValue<C, K extends string> = K extends StateName<C> ? StateAt<C, K> : unknown

/** `ds.primitives.state`: values for server code only, in the same store. Writing does not make a key live. */
export class StateFacade<C, S> extends ScopedFacade<S> {
  readonly #storeOf: (scope: Scope, user: string) => StateStore

  constructor (storeOf: (scope: Scope, user: string) => StateStore, server: S, scope: Scope) {
    super(server, scope)
    this.#storeOf = storeOf
  }

  /**
   * Commits a new value. Only the difference is stored.
   * @param key the key
   * @param value plain JSON
   * @returns the committed JSON Patch (RFC 6902), empty if nothing changed
   * @throws TypeError `INVALID_JSON` with the path, `INVALID_VALUE` if the contract refuses the value
   * @throws RangeError `TOO_DEEP`, `LIMIT_EXCEEDED` (`maxStateBytes`)
   * @throws DatasoleError `BUSY`; as the backend does
   */
  setState<K extends string> (key: K, value: ServerValue<C, K>): Promise<Operation[]> {
    return this.#storeOf(this.scope, 'state.setState').set(key, value, false)
  }

  /**
   * Commits the changes that a recipe makes to a draft.
   * @param key the key
   * @param recipe changes the draft, or returns a new value; runs again after a conflict with another node
   * @returns the committed JSON Patch (RFC 6902), empty if nothing changed
   * @throws as `setState`, and as the recipe does
   */
  update<K extends string> (key: K, recipe: Recipe<ServerValue<C, K>>): Promise<Operation[]> {
    return this.#storeOf(this.scope, 'state.update').update(key, recipe as Recipe<unknown>, false)
  }

  /**
   * Reads the committed value.
   * @param key the key
   * @returns a copy; undefined if there is no value
   * @throws as the backend does
   */
  getState<K extends string> (key: K): Promise<ServerValue<C, K> | undefined> {
    return this.#storeOf(this.scope, 'state.getState').get(key) as Promise<ServerValue<C, K> | undefined>
  }

  /**
   * Deletes the value.
   * @param key the key
   * @returns whether there was one
   * @throws as the backend does
   */
  deleteState (key: string): Promise<boolean> {
    return this.#storeOf(this.scope, 'state.deleteState').delete(key)
  }
}
