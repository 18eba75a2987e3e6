import type { DatasoleContract, StateAt, StateName } from '../protocol/contract.js'
import type { DatasoleError } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { Operation } from '../protocol/messages.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { type Listeners, notifyAll, restTimer } from './store-listeners.js'
import type { LiveClient } from './live-client.js'
import type { InitialState, SubscriptionStatus } from './state-subscriptions.js'

/** The state of a key at one moment. The object stays the same until something changes. */
export interface LiveSnapshot<T = unknown> {
  /** The frozen value; undefined if the key has none, or if it is not known yet. */
  readonly value: DeepReadonly<T> | undefined
  readonly status: SubscriptionStatus
  /** The position of the value; undefined until it is known. */
  readonly epoch: string | undefined
  readonly version: number | undefined
  /** The error if the subscription is denied or deferred. */
  readonly error: DatasoleError | undefined
}

/** @param patches operations from the last value to this one; undefined after a new snapshot or a change of status */
export type LiveListener = (patches?: readonly Operation[]) => void

export interface LiveStoreOptions<T = unknown> {
  /** ms to keep the subscription after its last listener is removed. Default 5,000; Infinity keeps it forever. */
  keepMs?: number
  /** The value that a server rendered. The store follows the key from its version. */
  initial?: InitialState<T>
}

/** Default of `keepMs`, so that a change of route does not end the subscription. */
const KEEP = 5000

/** The stores of each client, by key. */
const stores = new WeakMap<object, Map<string, LiveStore>>()

/**
 * The store of a key, on which the framework bindings are built. All components of a client that show the key share
 * one store, and so one subscription.
 * @param options used only by the first call for a key
 */
export function liveStore<C extends DatasoleContract, K extends StateName<C>> (client: LiveClient<C>, key: K, options: LiveStoreOptions<StateAt<C, K>> = {}): LiveStore<StateAt<C, K>> {
  let ofClient = stores.get(client)
  if (ofClient === undefined) stores.set(client, ofClient = new Map())
  let store = ofClient.get(key)
  if (store === undefined) ofClient.set(key, store = new LiveStore(client as LiveClient, key, options as LiveStoreOptions, () => { if (ofClient.get(key) === store) ofClient.delete(key) }))
  return store as LiveStore<StateAt<C, K>>
}

/** A key as an external store. It is subscribed while it has listeners, and `keepMs` longer. */
export class LiveStore<T = unknown> {
  readonly key: string
  readonly #client: LiveClient
  readonly #keepMs: number
  readonly #ended: () => void
  readonly #listeners = new Set() as Listeners<Parameters<LiveListener>>
  #snapshot: LiveSnapshot<T>
  #unsubscribe: Unsubscribe | undefined
  #keep: ReturnType<typeof setTimeout> | undefined

  /** @param ended called when the store is unused and may be forgotten */
  constructor (client: LiveClient, key: string, { keepMs = KEEP, initial }: LiveStoreOptions<T>, ended: () => void) {
    this.key = key
    this.#client = client
    this.#keepMs = keepMs
    this.#ended = ended
    this.#snapshot = initial === undefined
      ? { value: undefined, status: 'loading', epoch: undefined, version: undefined, error: undefined }
      : { value: initial.value as DeepReadonly<T>, status: 'stale', epoch: initial.epoch, version: initial.version, error: undefined }
    this.#rest() // forget the store if nothing subscribes, as after a render that the framework discards
  }

  getSnapshot (): LiveSnapshot<T> { return this.#snapshot }

  /** Calls the listener after each change of the snapshot. */
  subscribe (listener: LiveListener): Unsubscribe {
    const own = { listener }
    this.#listeners.add(own)
    this.#open()
    return unsubscriber(() => { if (this.#listeners.delete(own) && this.#listeners.size === 0) this.#rest() })
  }

  /** Subscribes, and resolves once the value is known or denied. Keeps the subscription for `keepMs`, at least 5 s. */
  async ready (): Promise<void> {
    if (this.#isSettled) return
    await new Promise<void>((resolve) => {
      const end = this.subscribe(() => {
        if (!this.#isSettled) return
        end()
        // frameworks may need longer than a short keepMs to render again
        this.#rest(Math.max(KEEP, this.#keepMs))
        resolve()
      })
    })
  }

  get #isSettled (): boolean { return this.#snapshot.version !== undefined || this.#snapshot.status === 'denied' }

  #open (): void {
    clearTimeout(this.#keep)
    if (this.#unsubscribe !== undefined) return
    const { value, epoch, version } = this.#snapshot
    this.#unsubscribe = this.#client.subscribeState(this.key, (value, { epoch, version }, patches) => {
      const status = this.#client.getStateStatus(this.key)!
      this.#change({ value: value as DeepReadonly<T> | undefined, epoch, version, status, error: status === 'live' ? undefined : this.#snapshot.error }, patches)
    }, {
      initial: version === undefined ? undefined : { value: value as T, epoch: epoch!, version },
      onStatus: (status) => { if (status !== this.#snapshot.status) this.#change(status === 'live' ? { status, error: undefined } : { status }) },
      onError: (error) => { this.#change({ error }) }
    })
  }

  #rest (ms = this.#keepMs): void {
    clearTimeout(this.#keep)
    this.#keep = restTimer(() => {
      this.#unsubscribe?.()
      this.#unsubscribe = undefined
      // users that still have the store see that the value is no longer followed
      const isKnown = this.#snapshot.version !== undefined
      this.#snapshot = { ...this.#snapshot, status: isKnown ? 'stale' : 'loading', error: undefined }
      this.#ended()
    }, ms)
  }

  #change (change: Partial<LiveSnapshot<T>>, patches?: readonly Operation[]): void {
    this.#snapshot = { ...this.#snapshot, ...change }
    notifyAll(this.#listeners, patches)
  }
}
