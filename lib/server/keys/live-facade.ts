import type { StateName, StateValue } from '../../protocol/contract.js'
import type { Operation } from '../../protocol/messages.js'
import { DataChannel, type DataChannelOptions } from '../channels/data-channel.js'
import { ScopedFacade } from '../facades.js'
import type { SyncChannel, SyncChannelOptions } from '../channels/sync-channel.js'
import type { Recipe } from '../store/write.js'

/** `ds.primitives.live`: state that clients mirror. */
export class LiveFacade<C, S> extends ScopedFacade<S> {
  /** Declares a key as this scope's, so that its `preSubscribe` hooks guard it. Not needed otherwise. */
  register<K extends StateName<C>> (key: K): void {
    this.core.live.register(key, this.scope)
  }

  /**
   * Commits a new value and makes the key live. The value is compared with the committed one; only
   * the difference travels.
   * @returns the JSON Patch (RFC 6902) that was committed, empty where nothing changed
   * @throws TypeError (`INVALID_JSON`) for what JSON cannot hold, with its path; RangeError for what is
   *   too deep (`TOO_DEEP`) or too large (`LIMIT_EXCEEDED`)
   */
  setState<K extends StateName<C>> (key: K, value: StateValue<C, K>): Promise<Operation[]> {
    return this.core.store.set(key, value, true)
  }

  /**
   * Commits what a recipe does to a draft of the value, at a cost that follows the change and not
   * the size of the state. A key without a value gives the recipe `undefined`.
   */
  update<K extends StateName<C>> (key: K, recipe: Recipe<StateValue<C, K>>): Promise<Operation[]> {
    return this.core.store.update(key, recipe as Recipe<unknown>, true)
  }

  /** The committed value, as a copy of your own; undefined where there is none. */
  getState<K extends StateName<C>> (key: K): Promise<StateValue<C, K> | undefined> {
    return this.core.store.get(key) as Promise<StateValue<C, K> | undefined>
  }

  /** Deletes the value; the key is live no more. Resolves to whether there was one. */
  deleteState<K extends StateName<C>> (key: K): Promise<boolean> {
    return this.core.store.delete(key)
  }

  /**
   * Makes a key a channel: who writes it, what travels, and when. The key belongs to this scope, whose
   * `preSubscribe` and `prePush` hooks guard it. Every node declares its channels.
   * @throws DatasoleError `INVALID_OPTION`, naming the option; `DUPLICATE_KEY` where the key is taken; `LIMIT_EXCEEDED` in mode `crdt` beyond `maxCrdtKeys`
   */
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateValue<C, K>, K> & { initialValue: StateValue<C, K> }): SyncChannel<StateValue<C, K>>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateValue<C, K>, K>): SyncChannel<StateValue<C, K>, StateValue<C, K> | undefined>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateValue<C, K>, K>): SyncChannel<StateValue<C, K>, StateValue<C, K> | undefined> {
    return this.core.channels.create(options as SyncChannelOptions, this.scope) as SyncChannel<StateValue<C, K>, StateValue<C, K> | undefined>
  }

  /** The channel of a key, unless there is none (any more). */
  getSyncChannel<K extends StateName<C>> (key: K): SyncChannel<StateValue<C, K>, StateValue<C, K> | undefined> | undefined {
    return this.core.channels.get(key) as SyncChannel<StateValue<C, K>, StateValue<C, K> | undefined> | undefined
  }

  /**
   * Methods, events and state that belong together, in one call: what is named `move` here is `board.move`
   * to clients, where the key is `board`; the state is the sync channel `board`.
   * @throws what the registrations throw; then none of them is made
   */
  createDataChannel<K extends string> (options: DataChannelOptions<C, K>): DataChannel<C, K> {
    return new DataChannel<C, K>(this.core, options, this.scope)
  }

  /** The data channel of a key, unless there is none (any more). */
  getDataChannel<K extends string> (key: K): DataChannel<C, K> | undefined {
    return this.core.channels.composed.get(key) as DataChannel<C, K> | undefined
  }
}
