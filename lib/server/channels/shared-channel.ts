import { setTimeout } from 'node:timers/promises'
import type { ChannelDirection, ChannelInfo, ChannelMode, Operation } from '../../protocol/messages.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { type FlushHandler, FlushHandlers, FlushQueue, type Flushed } from './flush-handlers.js'
import { FlushClock } from './flush-strategy.js'
import type { Scope } from '../scope/scope.js'
import type { KeyChannel } from '../keys/key-channel.js'
import type { Subscriptions } from '../keys/subscriptions.js'
import type { Logger } from '../context/logger.js'
import type { Replica } from '../store/replica.js'
import type { StateStore } from '../store/state-store.js'
import type { ChannelSettings, SyncChannel } from './sync-channel.js'
import type { Recipe } from '../store/write.js'

/** ms before a channel that could not be opened is opened again. */
const RETRY = 1000

/** The stores that may have the value of a channel. */
export interface Stores { readonly state: StateStore, readonly crdt: StateStore }

/** The parts of the server that every channel uses. */
export interface ChannelHost {
  readonly subscriptions: Subscriptions
  readonly log: Logger
  /** The stores of a scope's backend. */
  storesOf (scope: Scope): Stores
  /** Opens the channel of a key, unless it is open. */
  use (key: string): void
  /** Called when a channel is closed. Its key is free again. */
  closed (key: string): void
}

/**
 * A channel whose value all clients share: `server-to-client` or `bidirectional`. A write is committed at once, as for
 * any key. Only the fan-out and the handlers wait for the flush rule.
 */
export abstract class SharedChannel implements SyncChannel, KeyChannel {
  readonly key: string
  readonly direction: ChannelDirection
  readonly mode: ChannelMode
  readonly info: ChannelInfo
  protected readonly initialValue: unknown
  protected readonly handlers: FlushHandlers
  protected replica: Replica | undefined
  readonly #line: FlushQueue
  readonly #clock: FlushClock
  /** The version that subscribers have, while newer ones wait; -1 if no patch leads from it to the newest. */
  #from: number | undefined
  #isClosed = false

  constructor (protected readonly host: ChannelHost, { key, direction, mode, flush, initialValue }: ChannelSettings, readonly scope: Scope) {
    this.key = key
    this.info = { direction, mode }
    this.direction = direction
    this.mode = mode
    this.initialValue = initialValue
    this.handlers = new FlushHandlers(key, host.log)
    this.#line = new FlushQueue(this.handlers, null, () => this.take())
    this.#clock = new FlushClock(flush, () => { this.#flush() })
  }

  abstract get (): Promise<unknown>
  abstract set (value: unknown): Promise<Operation[]>
  abstract update (recipe: Recipe<unknown>): Promise<Operation[]>

  /** Writes the initial value if the key has none, and sets where the handlers begin. Called again after a failure. */
  protected abstract start (): Promise<void>
  /** The store of the value. */
  protected abstract get store (): StateStore
  /** The changes since the last flush to the handlers. */
  protected abstract take (): Flushed | undefined

  get isIdle (): boolean { return this.handlers.running === 0 }

  /** Never rejects. Retries until the backend succeeds. */
  async open (): Promise<void> {
    for (let isSaid = false; !this.#isClosed; await setTimeout(RETRY, undefined, { ref: false })) {
      try {
        await this.start()
        return
      } catch (error) {
        if (!isSaid) this.host.log.error({ err: error, key: this.key }, 'a channel could not be opened; the server keeps trying')
        isSaid = true
      }
    }
  }

  flush (): Promise<void> {
    this.#clock.flush()
    return this.#line.settled()
  }

  onFlush (handler: FlushHandler): Unsubscribe {
    return this.handlers.add(handler)
  }

  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#clock.flush()
    this.ended()
    await this.#line.settled()
  }

  onCommit (replica: Replica, from: number): void {
    this.replica = replica
    if (this.#from === undefined || from === -1) this.#from = from
    this.#clock.changed(from === -1 ? 1 : replica.version - from)
  }

  disconnected (): void {} // the value does not belong to a connection

  protected ended (): void {
    this.host.closed(this.key)
  }

  #flush (): void {
    const from = this.#from
    this.#from = undefined
    if (from !== undefined) this.host.subscriptions.publish(this.key, this.store, from)
    this.#line.due()
  }
}
