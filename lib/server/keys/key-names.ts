import type { StateStore } from '../store/state-store.js'

/** A pending query to the backend about a name. */
interface Check { /** Another node has said that the key was deleted. */ isDeletion: boolean }

/** Callbacks for names that change. */
export interface NamesOwner {
  /** Called for a name that is new to this node. */
  added? (key: string): void
  /** Called if a key could not be read, so that `reload` is due. */
  unsure? (): void
  /** Called for a change that this node saw itself, so that the other nodes are notified. */
  announce (key: string, isLive: boolean): void
}

/**
 * The live keys of a store, as far as this node knows. Nodes notify each other of keys that become live or are deleted.
 * A name is removed only after the backend has confirmed the deletion, unless a message since then says that the key is
 * live.
 */
export class KeyNames implements Iterable<string> {
  readonly #store: Pick<StateStore, 'isLive' | 'holdsLive' | 'liveKeys'>
  readonly #owner: NamesOwner
  readonly #names = new Set<string>()
  readonly #checks = new Map<string, Check>()
  #isUnsure = false

  constructor (store: Pick<StateStore, 'isLive' | 'holdsLive' | 'liveKeys'>, owner: NamesOwner) {
    this.#store = store
    this.#owner = owner
  }

  get size (): number { return this.#names.size }

  has (key: string): boolean { return this.#names.has(key) }

  [Symbol.iterator] (): Iterator<string> { return this.#names[Symbol.iterator]() }

  /** Adds a key that another node, or the backend, reports as live. */
  add (key: string): void {
    this.#checks.delete(key)
    if (this.#names.has(key)) return
    this.#names.add(key)
    this.#owner.added?.(key)
  }

  /** Handles a key that became live or was deleted, as a replica of this node has seen. */
  changed (key: string, isLive: boolean): void {
    // this may be a new key of the same name, unknown to others: query again, since the pending answer may be older
    if (isLive && this.#checks.get(key)?.isDeletion === true) {
      void this.deleted(key)
      return
    }
    this.#checks.delete(key)
    if (isLive === this.#names.has(key)) return
    if (isLive) this.add(key)
    else this.#names.delete(key)
    this.#owner.announce(key, isLive)
  }

  /** Handles a deletion that another node reports. The report may be older than the key. */
  async deleted (key: string): Promise<void> {
    if (!this.#names.has(key)) return
    const check = { isDeletion: true }
    this.#checks.set(key, check)
    // if the key cannot be read, the name stays until `reload`
    const isLive = await this.#store.isLive(key).catch(() => undefined)
    if (this.#checks.get(key) !== check) return
    this.#checks.delete(key)
    if (isLive === false) this.#names.delete(key)
    // other nodes may have asked just before the key was created
    else if (isLive === true) this.#owner.announce(key, true)
    else if (!this.#isUnsure) {
      this.#isUnsure = true
      this.#owner.unsure?.()
    }
  }

  /** Reads the live keys from the backend again, because messages may have been lost. */
  async reload (): Promise<void> {
    const check = { isDeletion: false }
    for (const key of this.#names) if (this.#checks.get(key)?.isDeletion !== true) this.#checks.set(key, check)
    const keys = await this.#store.liveKeys()
    this.#isUnsure = false
    const live = new Set(keys)
    for (const key of this.#names) {
      if (this.#checks.get(key) !== check) continue
      this.#checks.delete(key)
      // a replica reports the deletion of its key itself
      if (!live.has(key) && !this.#store.holdsLive(key)) this.#names.delete(key)
    }
    for (const key of live) this.add(key)
  }
}
