import { checkHandler } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import { isEqual } from '../protocol/json.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'

/** Gets the value, which is frozen. */
export type ChannelHandler<T = unknown> = (value: DeepReadonly<T> | undefined) => void

interface Subscriber { handler: ChannelHandler, isNotified: boolean }

/** A value with local changes, and its subscribers. */
export class OptimisticValue {
  readonly #subscribers = new Set<Subscriber>()
  readonly #onError: (error: unknown) => void
  #value: unknown
  #isKnown = false

  constructor (onError: (error: unknown) => void) {
    this.#onError = onError
  }

  get value (): unknown { return this.#value }
  /** Whether the value is known; a known value may be undefined. */
  get isKnown (): boolean { return this.#isKnown }

  subscribe (handler: ChannelHandler): Unsubscribe {
    checkHandler('subscribe', handler)
    const subscriber = { handler, isNotified: false }
    this.#subscribers.add(subscriber)
    // call the handler only after the caller has its unsubscriber
    queueMicrotask(() => { if (this.#isKnown && !subscriber.isNotified) this.#notify(subscriber) })
    return unsubscriber(() => { this.#subscribers.delete(subscriber) })
  }

  /** Sets the value. @param isKnown whether undefined means that there is no value */
  show (value: unknown, isKnown: boolean): void {
    // cheap, because unchanged parts are mostly the same objects
    if (this.#isKnown && isEqual(value, this.#value)) return
    this.#isKnown ||= isKnown || value !== undefined
    if (!this.#isKnown) return
    this.#value = value
    for (const subscriber of [...this.#subscribers]) this.#notify(subscriber)
  }

  clear (): void {
    this.#subscribers.clear()
  }

  #notify (subscriber: Subscriber): void {
    if (!this.#subscribers.has(subscriber)) return
    subscriber.isNotified = true
    try {
      subscriber.handler(this.#value)
    } catch (error) {
      this.#onError(error)
    }
  }
}
