import type { StateName, StateAt } from '../../protocol/contract.js'
import type { Head, Operation } from '../../protocol/messages.js'
import type { LiveState } from '../keys/live-state.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { StateStore } from '../store/state-store.js'
import type { Recipe } from '../store/write.js'
import type { Channels } from './channels.js'
import { DataChannel, type DataChannelOptions, type DataChannelParts } from './data-channel.js'
import type { SyncChannel, SyncChannelOptions } from './sync-channel.js'

/** `ds.primitives.live`: state that clients mirror. */
export class LiveFacade<C, S> extends ScopedFacade<S> {
  readonly #live: LiveState
  readonly #channels: Channels
  readonly #parts: DataChannelParts

  constructor (live: LiveState, parts: DataChannelParts, server: S, scope: Scope) {
    super(server, scope)
    this.#live = live
    this.#parts = parts
    this.#channels = parts.channels
  }

  /**
   * Declares a key as this scope's, so that its `preSubscribe` hooks guard it. Not needed otherwise.
   * @throws DatasoleError `DUPLICATE_KEY` if the key is registered already, or is a CRDT
   */
  register<K extends StateName<C>> (key: K): void {
    this.#live.register(key, this.scope)
  }

  /**
   * Commits a new value and makes the key live. The value is compared with the committed one; only
   * the difference travels.
   * @param value plain JSON
   * @returns the JSON Patch (RFC 6902) that was committed, empty where nothing changed
   * @throws TypeError `INVALID_JSON` for what JSON cannot hold, with its path; `INVALID_VALUE` where the contract
   *   refuses it
   * @throws RangeError `TOO_DEEP`, or `LIMIT_EXCEEDED` over `maxStateBytes`
   * @throws DatasoleError `BUSY` if too many writes of the key wait; `UNDECLARED_KEY` in a scope with a backend of its
   *   own; as the backend does
   */
  async setState<K extends StateName<C>> (key: K, value: StateAt<C, K>): Promise<Operation[]> {
    return await this.#store(key, 'setState').set(key, value, true)
  }

  /**
   * Commits what a recipe does to a draft of the value, at a cost that follows the change and not
   * the size of the state. A key without a value gives the recipe `undefined`.
   * @param recipe changes the draft, or returns a new value; it runs again after a conflict with another node
   * @returns the JSON Patch (RFC 6902) that was committed, empty where nothing changed
   * @throws as `setState`; what the recipe throws; TypeError `INVALID_ARGUMENT` for a recipe that is no function
   */
  async update<K extends StateName<C>> (key: K, recipe: Recipe<StateAt<C, K>>): Promise<Operation[]> {
    return await this.#store(key, 'update').update(key, recipe as Recipe<unknown>, true)
  }

  /**
   * The committed value, as a copy of your own; undefined where there is none.
   * @throws DatasoleError `UNDECLARED_KEY` in a scope with a backend of its own; as the backend does
   */
  async getState<K extends StateName<C>> (key: K): Promise<StateAt<C, K> | undefined> {
    return await this.#store(key, 'getState').get(key) as Promise<StateAt<C, K> | undefined>
  }

  /**
   * The committed value with its position, as a copy of your own: a page that is rendered with it follows from there
   * (the client's `initial`). Without a value, `value` is undefined.
   * @throws as `getState`
   */
  async getSnapshot<K extends StateName<C>> (key: K): Promise<Head & { value: StateAt<C, K> | undefined }> {
    const { epoch, version, value } = await this.#store(key, 'getSnapshot').read(key)
    return { epoch, version, value: value === undefined ? undefined : JSON.parse(value) as StateAt<C, K> }
  }

  /**
   * Deletes the value; the key is live no more.
   * @returns whether there was one
   * @throws as `getState`
   */
  async deleteState<K extends StateName<C>> (key: K): Promise<boolean> {
    return await this.#store(key, 'deleteState').delete(key)
  }

  /**
   * Makes a key a channel: who writes it, what travels, and when. The key belongs to this scope, whose
   * `preSubscribe` and `prePush` hooks guard it. Every node declares its channels.
   * @param options at least `key`, `direction` and `mode`. Default flush: at once
   * @returns the channel, until `close()`
   * @throws DatasoleError `INVALID_OPTION`, naming the option; `DUPLICATE_KEY` where the key is taken; `LIMIT_EXCEEDED`
   *   in mode `crdt` beyond `maxCrdtKeys`
   * @throws TypeError `INVALID_JSON`, or `INVALID_VALUE` where the contract refuses the `initialValue`
   */
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K> & { initialValue: StateAt<C, K> }): SyncChannel<StateAt<C, K>>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K>): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K>): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> {
    return this.#channels.create(options as SyncChannelOptions, this.scope) as SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined>
  }

  /** The channel of a key, unless there is none (any more). */
  getSyncChannel<K extends StateName<C>> (key: K): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> | undefined {
    return this.#channels.get(key) as SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> | undefined
  }

  /**
   * Methods, events and state that belong together, in one call: what is named `move` here is `board.move`
   * to clients, where the key is `board`; the state is the sync channel `board`.
   * @param options the `key`, and `rpc`, `events` and `state` of it
   * @returns the data channel, until `close()`
   * @throws what the registrations throw; then none of them is made
   */
  createDataChannel<K extends string> (options: DataChannelOptions<C, K>): DataChannel<C, K> {
    return new DataChannel<C, K>(this.#parts, options, this.scope)
  }

  /** The data channel of a key, unless there is none (any more). */
  getDataChannel<K extends string> (key: K): DataChannel<C, K> | undefined {
    return this.#channels.composed.get(key) as DataChannel<C, K> | undefined
  }

  /** A declared key is in the backend of its scope, whichever scope writes it; any other key is in the root's. */
  #store (key: string, method: string): StateStore {
    return this.#live.storeFor(key, this.scope, `live.${method}`)
  }
}
