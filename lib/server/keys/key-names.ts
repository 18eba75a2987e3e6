import type { StateStore } from '../store/state-store.js'

/** A question to the backend that is under way, about a name. */
interface Check { /** Another node has said that the key was deleted. */ isDeletion: boolean }

/** Callbacks for names that change. */
export interface NamesOwner {
  /** A name is new to this node. */
  added? (key: string): void
  /** A key could not be asked about: `reload` is due. */
  unsure? (): void
  /** This node has found out by itself: the other nodes are to be told. */
  announce (key: string, isLive: boolean): void
}

/**
 * The live keys of a store, as far as this node has heard. Nodes tell each other about keys that become live
 * or are deleted. A name goes only once the backend has confirmed the deletion, and no message has said
 * meanwhile that the key is there again.
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

  /** Another node, or the backend, says that the key is live. */
  add (key: string): void {
    this.#checks.delete(key)
    if (this.#names.has(key)) return
    this.#names.add(key)
    this.#owner.added?.(key)
  }

  /** A replica of this node has seen its key become live, or deleted. */
  changed (key: string, isLive: boolean): void {
    // it may be a new key by that name, of which others do not know: an answer on its way may be older
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

  /** Another node says that the key was deleted; its message may be older than the key. */
  async deleted (key: string): Promise<void> {
    if (!this.#names.has(key)) return
    const check = { isDeletion: true }
    this.#checks.set(key, check)
    // if it cannot be read the name stays, until `reload`
    const isLive = await this.#store.isLive(key).catch(() => undefined)
    if (this.#checks.get(key) !== check) return
    this.#checks.delete(key)
    if (isLive === false) this.#names.delete(key)
    // other nodes may have asked a moment before the key was made
    else if (isLive === true) this.#owner.announce(key, true)
    else if (!this.#isUnsure) {
      this.#isUnsure = true
      this.#owner.unsure?.()
    }
  }

  /** Asks the backend which keys there are: messages may have been lost. */
  async reload (): Promise<void> {
    const check = { isDeletion: false }
    for (const key of this.#names) if (this.#checks.get(key)?.isDeletion !== true) this.#checks.set(key, check)
    const keys = await this.#store.liveKeys()
    this.#isUnsure = false
    const live = new Set(keys)
    for (const key of this.#names) {
      if (this.#checks.get(key) !== check) continue
      this.#checks.delete(key)
      // a replica tells by itself
      if (!live.has(key) && !this.#store.holdsLive(key)) this.#names.delete(key)
    }
    for (const key of live) this.add(key)
  }
}
