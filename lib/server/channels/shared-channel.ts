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

/** ms before a channel that could not be opened is tried again. */
const RETRY = 1000

/** The stores that a channel's value may be in. */
export interface Stores { readonly state: StateStore, readonly crdt: StateStore }

/** The parts of the server that every channel uses. */
export interface ChannelHost {
  readonly subscriptions: Subscriptions
  readonly log: Logger
  /** The stores of a scope's backend. */
  storesOf (scope: Scope): Stores
  /** The channel is used: it is opened, unless it is open already. */
  use (key: string): void
  /** The channel has ended: its key is free. */
  closed (key: string): void
}

/**
 * A channel whose value all clients share: `server-to-client` or `bidirectional`. The value is committed
 * when it is written, like that of any key; the channel holds back its fan-out and its handlers.
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
  /** The version that subscribers were given last, while newer ones wait; -1 where no patch leads on from it. */
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

  /** Sees that the key has its first value, and where the handlers begin. May be called again after a failure. */
  protected abstract start (): Promise<void>
  /** The store of the value. */
  protected abstract get store (): StateStore
  /** The changes that the handlers have not seen yet. */
  protected abstract take (): Flushed | undefined

  get isIdle (): boolean { return this.handlers.running === 0 }

  /** Never rejects: it is tried until the backend takes it. */
  async open (): Promise<void> {
    for (let isSaid = false; !this.#isClosed; await setTimeout(RETRY, undefined, { ref: false })) {
      try {
        await this.start()
        return
      } catch (error) {
        if (!isSaid) this.host.log.error({ err: error, key: this.key }, 'a channel could not be opened; it is tried again until it can')
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

  disconnected (): void {} // the value is nobody's own

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
