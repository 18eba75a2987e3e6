import { createSubscriber } from 'svelte/reactivity'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'

/** A store of this package. */
export interface Store<S> { getSnapshot (): S, subscribe (listener: () => void): () => void }

/** Svelte's store contract: `run` is called at once, and after each change. */
export interface Readable<T> {
  /** Subscribes to the value. @param run gets the value at once, and after each change @returns ends the subscription */
  subscribe (run: (value: T) => void): Unsubscribe
}

const subscribers = new WeakMap<Store<never>, () => void>()

/** Makes the currently running effect follow the store. Outside of effects it does nothing. */
function track (store: Store<never>): void {
  let subscribe = subscribers.get(store)
  if (subscribe === undefined) subscribers.set(store, subscribe = createSubscriber((update) => store.subscribe(update)))
  subscribe()
}

/**
 * A snapshot. An effect that reads it follows it; `readable` makes a Svelte store of it.
 * @param store called at each read, because the key may come from a signal; returns undefined for no store
 * @param none the snapshot to use without a store
 */
export class Followed<S> {
  readonly #store: () => Store<S> | undefined
  readonly #none: () => S

  constructor (store: () => Store<S> | undefined, none: () => S) {
    this.#store = store
    this.#none = none
  }

  get snapshot (): S {
    const store = this.#store()
    if (store === undefined) return this.#none()
    track(store as Store<never>)
    return store.getSnapshot()
  }

  /** Calls `run` with the result of `select`, whenever it changes. */
  readable<T> (select: (snapshot: S) => T, run: (value: T) => void): Unsubscribe {
    const store = this.#store()
    const read = (): T => select(store === undefined ? this.#none() : store.getSnapshot())
    let last: T
    const end = store?.subscribe(() => {
      const next = read()
      if (Object.is(next, last)) return
      last = next
      run(next)
    })
    last = read()
    run(last)
    return unsubscriber(() => { end?.() })
  }
}
