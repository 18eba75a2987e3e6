import { type Listeners, notifyAll, restTimer } from '../client/store-listeners.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'

/** Changes members of a snapshot. Does nothing if all are unchanged. */
export type Change<S> = (part: Partial<S>) => void

export interface Holding<S> {
  /** The snapshot before the store is open. */
  closed: S
  /** ms to keep the store open after its last listener is removed. */
  keepMs: number
  /** Opens the store. @returns a function that closes it */
  open (change: Change<S>): () => void
  /** Called when the store is closed and may be forgotten. */
  ended (): void
}

/** A store of a value for components. It is open while it has listeners, and `keepMs` longer. */
export class HeldStore<S extends object> {
  readonly #holding: Holding<S>
  readonly #listeners = new Set() as Listeners
  #snapshot: S
  #close: (() => void) | undefined
  #keep: ReturnType<typeof setTimeout> | undefined

  constructor (holding: Holding<S>) {
    this.#holding = holding
    this.#snapshot = holding.closed
    this.#rest() // forget the store if nothing subscribes, as after a render that the framework discards
  }

  /** The current snapshot. The object stays the same until something changes. */
  getSnapshot (): S { return this.#snapshot }

  subscribe (listener: () => void): Unsubscribe {
    this.open() // may throw
    const own = { listener }
    this.#listeners.add(own)
    clearTimeout(this.#keep)
    return unsubscriber(() => { if (this.#listeners.delete(own) && this.#listeners.size === 0) this.#rest() })
  }

  /** Opens the store. Without listeners it closes after `keepMs`. */
  open (): void {
    if (this.#listeners.size === 0) this.#rest()
    this.#close ??= this.#holding.open((part) => { this.#change(part) })
  }

  #rest (): void {
    clearTimeout(this.#keep)
    this.#keep = restTimer(() => {
      this.#close?.()
      this.#close = undefined
      this.#holding.ended()
    }, this.#holding.keepMs)
  }

  #change (part: Partial<S>): void {
    const isSame = (Object.keys(part) as Array<keyof S>).every((name) => Object.is(part[name], this.#snapshot[name]))
    if (isSame) return
    this.#snapshot = { ...this.#snapshot, ...part }
    notifyAll(this.#listeners)
  }
}

/** The stores of each client, by kind and key. */
const stores = new WeakMap<object, Map<string, unknown>>()

/** The store of a client with this name, created at the first use. `make` gets a function that forgets the store. */
export function storeOf<T> (client: object, name: string, make: (forget: () => void) => T): T {
  let ofClient = stores.get(client)
  if (ofClient === undefined) stores.set(client, ofClient = new Map())
  let store = ofClient.get(name) as T | undefined
  if (store === undefined) ofClient.set(name, store = make(() => { if (ofClient.get(name) === store) ofClient.delete(name) }))
  return store
}
