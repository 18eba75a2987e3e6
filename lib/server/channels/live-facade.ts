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

/** `ds.primitives.live`: state that clients subscribe to. */
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
   * Declares a key in this scope, so that the scope's `preSubscribe` hooks guard it. Other keys need no declaration.
   * @param key the key
   * @throws DatasoleError `DUPLICATE_KEY` if the key is registered already, or is a CRDT
   */
  register<K extends StateName<C>> (key: K): void {
    this.#live.register(key, this.scope)
  }

  /**
   * Commits a new value and makes the key live. Clients get the difference from the committed value.
   * @param key the key
   * @param value plain JSON
   * @returns the committed JSON Patch (RFC 6902), empty if nothing changed
   * @throws TypeError `INVALID_JSON` with the path if JSON cannot hold the value, `INVALID_VALUE` if the contract
   *   refuses it
   * @throws RangeError `TOO_DEEP`, or `LIMIT_EXCEEDED` over `maxStateBytes`
   * @throws DatasoleError `BUSY` if too many writes of the key wait; `UNDECLARED_KEY` in a scope with a backend of its
   *   own; as the backend does
   */
  async setState<K extends StateName<C>> (key: K, value: StateAt<C, K>): Promise<Operation[]> {
    return await this.#store(key, 'setState').set(key, value, true)
  }

  /**
   * Commits the changes that a recipe makes to a draft. The cost follows the change, not the size of the value.
   * @param key the key
   * @param recipe changes the draft, or returns a new value; gets `undefined` if the key has no value; runs again after
   *   a conflict with another node
   * @returns the committed JSON Patch (RFC 6902), empty if nothing changed
   * @throws as `setState`, and as the recipe does; TypeError `INVALID_ARGUMENT` if the recipe is not a function
   */
  async update<K extends StateName<C>> (key: K, recipe: Recipe<StateAt<C, K>>): Promise<Operation[]> {
    return await this.#store(key, 'update').update(key, recipe as Recipe<unknown>, true)
  }

  /**
   * Reads the committed value.
   * @param key the key
   * @returns a copy; undefined if there is no value
   * @throws DatasoleError `UNDECLARED_KEY` in a scope with a backend of its own; as the backend does
   */
  async getState<K extends StateName<C>> (key: K): Promise<StateAt<C, K> | undefined> {
    return await this.#store(key, 'getState').get(key) as Promise<StateAt<C, K> | undefined>
  }

  /**
   * Reads the committed value with its position, for the client's option `initial` in a page that a server renders.
   * @param key the key
   * @returns a copy, with epoch and version; `value` is undefined if there is none
   * @throws as `getState`
   */
  async getSnapshot<K extends StateName<C>> (key: K): Promise<Head & { value: StateAt<C, K> | undefined }> {
    const { epoch, version, value } = await this.#store(key, 'getSnapshot').read(key)
    return { epoch, version, value: value === undefined ? undefined : JSON.parse(value) as StateAt<C, K> }
  }

  /**
   * Deletes the value. The key is no longer live.
   * @param key the key
   * @returns whether there was a value
   * @throws as `getState`
   */
  async deleteState<K extends StateName<C>> (key: K): Promise<boolean> {
    return await this.#store(key, 'deleteState').delete(key)
  }

  /**
   * Creates a channel: a key with rules for who writes it, how updates are sent, and when. The key belongs to this
   * scope, whose `preSubscribe` and `prePush` hooks guard it. Every node has to declare its channels.
   * @param options at least `key`, `direction` and `mode`. Default flush: at once
   * @returns the channel, until `close()`
   * @throws DatasoleError `INVALID_OPTION`, naming the option; `DUPLICATE_KEY` if the key is taken; `LIMIT_EXCEEDED` in
   *   mode `crdt` beyond `maxCrdtKeys`
   * @throws TypeError `INVALID_JSON`, or `INVALID_VALUE` if the contract refuses the `initialValue`
   */
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K> & { initialValue: StateAt<C, K> }): SyncChannel<StateAt<C, K>>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K>): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined>
  createSyncChannel<K extends StateName<C>> (options: SyncChannelOptions<StateAt<C, K>, K>): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> {
    return this.#channels.create(options as SyncChannelOptions, this.scope) as SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined>
  }

  /**
   * Finds the channel of a key.
   * @param key the key
   * @returns the channel; undefined if there is none, or it is closed
   */
  getSyncChannel<K extends StateName<C>> (key: K): SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> | undefined {
    return this.#channels.get(key) as SyncChannel<StateAt<C, K>, StateAt<C, K> | undefined> | undefined
  }

  /**
   * Registers methods, events and state that belong together. With the key `board`, clients call the method `move` as
   * `board.move`, and the state is the sync channel `board`.
   * @param options `key`, and its `rpc`, `events` and `state`
   * @returns the data channel, until `close()`
   * @throws as the registrations do; then nothing is registered
   */
  createDataChannel<K extends string> (options: DataChannelOptions<C, K>): DataChannel<C, K> {
    return new DataChannel<C, K>(this.#parts, options, this.scope)
  }

  /**
   * Finds the data channel of a key.
   * @param key the key
   * @returns the data channel; undefined if there is none, or it is closed
   */
  getDataChannel<K extends string> (key: K): DataChannel<C, K> | undefined {
    return this.#channels.composed.get(key) as DataChannel<C, K> | undefined
  }

  /** The store of a key: in its scope's backend for a declared key, whichever scope writes it, else in the root's. */
  #store (key: string, method: string): StateStore {
    return this.#live.storeFor(key, this.scope, `live.${method}`)
  }
}
