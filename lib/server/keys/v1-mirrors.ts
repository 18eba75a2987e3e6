import { setTimeout } from 'node:timers/promises'
import type { Connection } from '../connection/connection.js'
import type { Logger } from '../context/logger.js'
import type { StateStore } from '../store/state-store.js'
import { KeyNames } from './key-names.js'
import type { KeyRegistry } from './registry.js'
import type { Subscriptions } from './subscriptions.js'

/** ms before another attempt to read the names of keys. */
const RETRY = 1000

/**
 * Clients of protocol version 1 do not subscribe: they get every key. Only for them does a node need the names of all
 * live keys. So it loads the names with the first such client, and drops them with the last.
 */
export class V1Mirrors {
  readonly #connections = new Set<Connection>()
  #names: KeyNames | undefined
  readonly #subscriptions: Subscriptions
  readonly #keys: KeyRegistry
  readonly #state: () => StateStore
  readonly #crdts: Iterable<string>
  readonly #unsure: () => void
  readonly #log: Logger

  /**
   * @param state the root's store of live state
   * @param crdts names of CRDTs
   * @param unsure called if a key could not be read, so that `reload` is due
   */
  constructor (subscriptions: Subscriptions, keys: KeyRegistry, state: () => StateStore, crdts: Iterable<string>, unsure: () => void, log: Logger) {
    this.#unsure = unsure
    this.#subscriptions = subscriptions
    this.#keys = keys
    this.#state = state
    this.#crdts = crdts
    this.#log = log
  }

  connected (connection: Connection): void {
    if (connection.protocol !== 1) return
    this.#connections.add(connection)
    for (const keys of [this.#keys.keys, this.#crdts, this.#names ?? []]) for (const key of keys) this.#subscriptions.mirror(connection, key)
    if (this.#names === undefined) void this.#load(this.#names = new KeyNames(this.#state(), { added: (key) => { this.added(key) }, unsure: this.#unsure, announce: () => {} }))
  }

  disconnected (connection: Connection): void {
    if (this.#connections.delete(connection) && this.#connections.size === 0) this.#names = undefined
  }

  /** Subscribes all clients of version 1 to a new key. */
  added (key: string): void {
    for (const connection of this.#connections) this.#subscriptions.mirror(connection, key)
  }

  /** Handles a key that became live or was deleted, on this node or another. */
  changed (key: string, isLive: boolean): void {
    if (isLive) {
      this.#names?.add(key)
      this.added(key)
    } else {
      void this.#names?.deleted(key)
    }
  }

  /** Reads the names again after messages between nodes may have been lost. */
  async reload (): Promise<void> {
    if (this.#names === undefined) return
    await this.#names.reload()
    // a key that was deleted and created again still has its name here, but no subscribers
    for (const key of this.#names ?? []) this.added(key)
  }

  async #load (names: KeyNames): Promise<void> {
    for (let isSaid = false; this.#names === names; await setTimeout(RETRY, undefined, { ref: false })) {
      try {
        await names.reload()
        return
      } catch (error) {
        if (!isSaid) this.#log.error({ err: error }, 'the live keys could not be read for clients of protocol version 1; the server keeps trying')
        isSaid = true
      }
    }
  }
}
