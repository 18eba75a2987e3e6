import type { StateStore } from '../store/state-store.js'

/** Why a name may be out of date. */
interface Doubt { /** Another node has said that the key is live no more. */ isSaid: boolean }

/**
 * The live keys of the backend, as far as this node has heard: nodes tell each other which keys became so, and
 * which are so no more. A name goes only once the backend has said that its key is gone, and nobody has said
 * meanwhile that it is there again; whoever finds one in doubt to be there tells the others.
 */
export class LiveNames implements Iterable<string> {
  /** Tells the other nodes. */
  announce: (key: string, isLive: boolean) => void = () => {}
  /** A key could not be asked about: all of them are to be, see `relearn`. */
  unsure: () => void = () => {}
  #isUnsure = false
  readonly #store: StateStore
  readonly #learned: (key: string) => void
  readonly #names = new Set<string>()
  readonly #doubts = new Map<string, Doubt>()

  /** @param learned told of each new name */
  constructor (store: StateStore, learned: (key: string) => void) {
    this.#store = store
    this.#learned = learned
  }

  get size (): number { return this.#names.size }

  has (key: string): boolean { return this.#names.has(key) }

  [Symbol.iterator] (): Iterator<string> { return this.#names[Symbol.iterator]() }

  /** Another node, or the backend, says that it is live. */
  learn (key: string): void {
    this.#doubts.delete(key)
    if (this.#names.has(key)) return
    this.#names.add(key)
    this.#learned(key)
  }

  /** This node's replica of a key has moved. */
  moved (key: string, isLive: boolean): void {
    // it may be a new one by that name, which others do not know of: what is asked already may be older
    if (isLive && this.#doubts.get(key)?.isSaid === true) {
      void this.doubt(key)
      return
    }
    this.#doubts.delete(key)
    if (isLive === this.#names.has(key)) return
    if (isLive) this.learn(key)
    else this.#names.delete(key)
    this.announce(key, isLive)
  }

  /** Another node says that it is live no more; which may have been overtaken. */
  async doubt (key: string): Promise<void> {
    if (!this.#names.has(key)) return
    const doubt = { isSaid: true }
    this.#doubts.set(key, doubt)
    // where it cannot be read the name stays, until all are asked about
    const isLive = await this.#store.isLive(key).catch(() => undefined)
    if (this.#doubts.get(key) !== doubt) return
    this.#doubts.delete(key)
    if (isLive === false) this.#names.delete(key)
    // others may have asked a moment before it was made
    else if (isLive === true) this.announce(key, true)
    else if (!this.#isUnsure) {
      this.#isUnsure = true
      this.unsure()
    }
  }

  /** Which there are is asked anew: what other nodes said may have been missed. */
  async relearn (): Promise<void> {
    const doubt = { isSaid: false }
    for (const key of this.#names) if (this.#doubts.get(key)?.isSaid !== true) this.#doubts.set(key, doubt)
    const keys = await this.#store.liveKeys()
    this.#isUnsure = false
    const live = new Set(keys)
    for (const key of this.#names) {
      if (this.#doubts.get(key) !== doubt) continue
      this.#doubts.delete(key)
      // a replica tells by itself
      if (!live.has(key) && !this.#store.holdsLive(key)) this.#names.delete(key)
    }
    for (const key of live) this.learn(key)
  }
}
