import type { DatasoleContract, StateAt, StateName } from '../protocol/contract.js'
import type { DatasoleError } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { Channel } from '../client/channel.js'
import type { LiveClient } from '../client/live-client.js'
import { type LiveStoreOptions, liveStore } from '../client/live-store.js'
import { channel } from '../client/open-channels.js'
import type { SubscriptionStatus } from '../client/state-subscriptions.js'
import { HeldStore, storeOf } from './held-store.js'

/** The state of a sync channel at one moment. */
export interface ChannelSnapshot<T = unknown> {
  /** The value, including own changes that the server does not have yet. It is frozen. */
  readonly value: DeepReadonly<T> | undefined
  /** Whether own changes are unacknowledged. */
  readonly isPending: boolean
  /** The status of the subscription: `stale` while disconnected, `denied` if the server refused it. */
  readonly status: SubscriptionStatus
  /** The error if the subscription is denied or deferred. */
  readonly error: DatasoleError | undefined
}

/** A sync channel as a store. All components of a client that show the key share it. */
export class ChannelStore<T = unknown> extends HeldStore<ChannelSnapshot<T>> {
  readonly #channel: () => Channel<T>
  readonly #refresh: () => void

  constructor (client: LiveClient, key: string, { keepMs = 5000, initial }: LiveStoreOptions<T>, forget: () => void) {
    let current: Channel<T> | undefined
    /** Whether the channel has a value. Until then the snapshot has the live value. */
    let isKnown = false
    let refresh = (): void => {}
    const live = (): ReturnType<typeof liveStore> => liveStore(client, key, { keepMs, initial })
    const closed = { value: initial?.value as DeepReadonly<T> | undefined, isPending: false, status: initial === undefined ? 'loading' as const : 'stale' as const, error: undefined }
    super({
      keepMs,
      closed,
      ended: forget,
      open: (change) => {
        const store = live()
        const opened = current = channel(client, key) as Channel<T>
        refresh = () => {
          const { value, status, error } = store.getSnapshot()
          change({ value: isKnown ? opened.get() : value as DeepReadonly<T> | undefined, isPending: opened.pending > 0, status, error })
        }
        const ends = [store.subscribe(() => { refresh() }), opened.subscribe(() => {
          isKnown = true
          refresh()
        })]
        refresh()
        return () => {
          for (const end of ends) end()
          opened.close()
          current = undefined
          isKnown = false
          refresh = () => {}
        }
      }
    })
    this.#channel = () => {
      this.open()
      return current!
    }
    this.#refresh = () => { refresh() }
  }

  /** The same as `Channel.update`. */
  update (recipe: (draft: T | undefined) => T | DeepReadonly<T> | void): void {
    this.#change((channel) => { channel.update(recipe) })
  }

  /** The same as `Channel.set`. */
  set (value: T | DeepReadonly<T>): void {
    this.#change((channel) => { channel.set(value) })
  }

  #change (run: (channel: Channel<T>) => void): void {
    const channel = this.#channel()
    run(channel)
    this.#refresh()
    if (channel.pending > 0) void channel.saved().then(this.#refresh)
  }
}

/** The store of a channel's key. @param options used only by the first call for a key */
export function channelStore<C extends DatasoleContract, K extends StateName<C>> (client: LiveClient<C>, key: K, options: LiveStoreOptions<StateAt<C, K>> = {}): ChannelStore<StateAt<C, K>> {
  return storeOf(client, `channel ${key}`, (forget) => new ChannelStore(client as LiveClient, key, options as LiveStoreOptions, forget)) as ChannelStore<StateAt<C, K>>
}
