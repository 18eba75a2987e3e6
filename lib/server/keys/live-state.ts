import { DatasoleError } from '../../protocol/errors.js'
import type { ChannelInfo } from '../../protocol/messages.js'
import type { Scope } from '../scope/scope.js'
import type { Replica } from '../store/replica.js'
import type { StateStore, StoreOwner } from '../store/state-store.js'
import type { ValueCheck } from '../store/write.js'
import { JsonSource } from './json-source.js'
import type { KeyRegistry } from './registry.js'
import type { KeySource, Kind } from './source.js'
import type { Subscriptions } from './subscriptions.js'

/** Keys with a JSON value, which server code or the clients of a channel write. */
export class LiveState implements Kind, StoreOwner {
  readonly name = 'json'
  readonly #keys: KeyRegistry
  readonly #subscriptions: Subscriptions
  readonly #storeOf: (scope: Scope, user: string) => StateStore
  readonly #onLiveChange: NonNullable<StoreOwner['onLiveChange']>
  readonly checkOf: (key: string) => ValueCheck | undefined

  /** @param checkOf the contract's check of a key's values */
  constructor (keys: KeyRegistry, subscriptions: Subscriptions, storeOf: (scope: Scope, user: string) => StateStore, onLiveChange: NonNullable<StoreOwner['onLiveChange']>, checkOf: (key: string) => ValueCheck | undefined) {
    this.#keys = keys
    this.#subscriptions = subscriptions
    this.#storeOf = storeOf
    this.#onLiveChange = onLiveChange
    this.checkOf = checkOf
  }

  /** Declares a key for a scope. The scope's hooks then guard it, even from clients that are already subscribed. */
  register (key: string, scope: Scope): void {
    this.#keys.register(key, 'json', scope, 'live.register')
  }

  storeOf (key: string): StateStore {
    return this.#storeOf(this.#keys.scopeOf(key), key)
  }

  /**
   * The store in which server code of a scope finds a key.
   * @param user the call, for errors
   * @throws DatasoleError `UNDECLARED_KEY` if clients would look for the key in another backend
   */
  storeFor (key: string, scope: Scope, user: string): StateStore {
    if (this.#keys.has(key)) return this.#storeOf(this.#keys.scopeOf(key), user)
    const store = this.#storeOf(scope, user)
    if (store === this.#storeOf(this.#keys.root, user)) return store
    throw new DatasoleError('UNDECLARED_KEY', `${user}("${key}"): the scope "${scope.name}" has its own backend, but clients read undeclared keys from the root's. Declare the key first: live.register("${key}")`)
  }

  open (replica: Replica, channel: ChannelInfo | undefined): KeySource {
    return new JsonSource(replica, this.#subscriptions, channel)
  }

  onCommit (replica: Replica, from: number, store: StateStore): void {
    this.#subscriptions.committed(this, store, replica, from)
  }

  onLiveChange (...change: Parameters<NonNullable<StoreOwner['onLiveChange']>>): void {
    this.#onLiveChange(...change)
  }

  isNeeded (key: string, store: StateStore): boolean {
    return this.#subscriptions.has(key, store) || (this.#keys.kindOf(key) === 'json' && this.#keys.channelOf(key) !== undefined && this.storeOf(key) === store)
  }

  keepsPaths (key: string): boolean {
    return this.#keys.channelOf(key)?.info.direction === 'bidirectional'
  }
}
