import type { Connection } from '../connection/connection.js'
import { DatasoleError, isThenable } from '../../protocol/errors.js'
import { type Scope, runHooks } from '../scope/scope.js'
import type { KeyChannel } from './key-channel.js'
import { LiveNames } from './live-names.js'
import { type LiveHost, LiveKey, type LiveSource, UNASKED } from './live-key.js'
import type { ChannelInfo } from '../../protocol/messages.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Replica } from '../store/replica.js'
import type { Settings } from '../config/settings.js'
import type { StateStore } from '../store/state-store.js'
import { type Source, Subscription } from './subscription.js'
import { refusalOf } from '../thrown.js'

/** ms before a key that could not be read is tried again. */
const RETRY = 1000

/** ms at the most before hooks that failed are asked again. */
const LONGEST_RETRY = 30_000

/** What a SUBSCRIBE says beside the key. */
export interface Wanted { epoch?: string, version?: number, nodeId?: string }

type Open = (replica: Replica, host: LiveHost, channel: ChannelInfo | undefined) => LiveSource

/** Who mirrors which key. Version 2 clients say so; version 1 clients mirror every live key. */
export class LiveState implements LiveHost {
  /** Keys with subscribers on this node. */
  readonly #keys = new Map<string, LiveSource>()
  readonly #byConnection = new Map<Connection, Map<string, Subscription>>()
  /** Every live key of the backend; clients of version 1 mirror them all. */
  readonly names: LiveNames
  readonly #scopes = new Map<string, Scope>()
  readonly #open: Open
  readonly #channels = new Map<string, KeyChannel>()
  /** Keys that someone waits for and that could not be read. */
  readonly #unreadable = new Set<string>()

  constructor (
    readonly settings: Settings,
    readonly store: StateStore,
    readonly root: Scope,
    readonly metrics: Metrics,
    readonly log: Logger,
    open: Open = (replica, host, channel) => new LiveKey(replica, host, channel)
  ) {
    this.#open = open
    this.names = new LiveNames(store, (key) => {
      for (const [connection] of this.#byConnection) if (connection.protocol === 1) this.#mirror(connection, key)
    })
    store.moved = (replica, from) => { this.#moved(replica, from) }
    store.isNeeded = (key) => this.#keys.has(key) || this.#channels.has(key)
  }

  get compressionThreshold (): number { return this.settings.compressionThreshold }

  /** Declares a key as a scope's: the scope's hooks guard it, also from those who subscribe to it already. */
  register (key: string, scope: Scope): void {
    const { scope: owner = scope } = this.#channels.get(key) ?? {}
    if (this.#scopes.has(key) || owner !== scope) throw new DatasoleError('DUPLICATE_KEY', `live.register("${key}"): the key is registered already`)
    this.#scopes.set(key, scope)
    if (scope !== this.root) this.#rejoin(key)
  }

  /**
   * From now on the key is a channel. Who subscribes to it already starts anew, by the hooks of its scope.
   * @throws DatasoleError `DUPLICATE_KEY` where another scope has registered the key
   */
  attach (key: string, channel: KeyChannel): void {
    const scope = this.#scopes.get(key)
    if (scope !== undefined && scope !== channel.scope) throw new DatasoleError('DUPLICATE_KEY', `createSyncChannel("${key}"): the key is registered in another scope`)
    this.#channels.set(key, channel)
    this.#rejoin(key)
  }

  detach (key: string): void {
    this.#channels.delete(key)
    this.#rejoin(key)
    this.store.idle(key)
  }

  /** Tells the subscribers of a channel's key that it has moved. */
  publish (key: string, from: number): void {
    this.#keys.get(key)?.publish(from)
  }

  /** The client does not agree with us on a key's value: it gets the whole, if it is one that may. */
  resync (connection: Connection, key: string): void {
    const subscription = this.#byConnection.get(connection)?.get(key)
    if (subscription?.source === undefined) return
    subscription.version = -1
    connection.markStale(subscription)
  }

  /** The key is nobody's again. */
  unregister (key: string): void {
    this.#scopes.delete(key)
  }

  /** Whether server code has made the key live, or declared it: then it is nothing else. */
  claims (key: string): boolean { return this.names.has(key) || this.isDeclared(key) }

  isDeclared (key: string): boolean { return this.#scopes.has(key) || this.#channels.has(key) }

  scopeOf (key: string): Scope { return this.#channels.get(key)?.scope ?? this.#scopes.get(key) ?? this.root }

  connected (connection: Connection): void {
    if (connection.protocol !== 1) return
    this.#byConnection.set(connection, new Map())
    for (const key of this.names) this.#mirror(connection, key)
  }

  disconnected (connection: Connection): void {
    const subscriptions = this.#byConnection.get(connection)
    this.#byConnection.delete(connection)
    for (const subscription of subscriptions?.values() ?? []) this.#end(subscription)
  }

  /**
   * SUBSCRIBE: answered under its correlation id, by patches, a snapshot or an ERROR.
   * @param retryAfter ms, where the rate limit refuses it
   */
  subscribe (connection: Connection, correlationId: number, key: string, { epoch = '', version = -1, nodeId }: Wanted, retryAfter: number): void {
    if (retryAfter > 0) return connection.sendError(correlationId, 'RATE_LIMITED', 'rate limit exceeded', { retryAfter, key })
    let subscriptions = this.#byConnection.get(connection)
    if (subscriptions === undefined) this.#byConnection.set(connection, subscriptions = new Map())
    let subscription = subscriptions.get(key)
    if (subscription === undefined) {
      if (connection.subscriptions >= this.settings.maxSubscriptions && connection.protocol !== 1) {
        return connection.sendError(correlationId, 'LIMIT_EXCEEDED', `a connection may have ${this.settings.maxSubscriptions} subscriptions`, { key })
      }
      subscriptions.set(key, subscription = new Subscription(connection, key))
      connection.subscriptions++
    }
    const asked = (subscription.asked ??= [])
    if (asked.length >= this.settings.maxCallsInFlight) return connection.sendError(correlationId, 'BUSY', 'too many subscriptions to this key wait for an answer', { retryAfter: 100, key })
    asked.push(correlationId)
    Object.assign(subscription, { epoch, version, nodeId })
    this.#activate(subscription)
  }

  unsubscribe (connection: Connection, key: string): void {
    const subscriptions = this.#byConnection.get(connection)
    const subscription = subscriptions?.get(key)
    if (subscription === undefined) return
    subscriptions!.delete(key)
    connection.subscriptions--
    this.#end(subscription)
  }

  /** A version 1 client mirrors every key that it may see. */
  #mirror (connection: Connection, key: string): void {
    const subscriptions = this.#byConnection.get(connection)!
    if (subscriptions.has(key)) return
    const subscription = new Subscription(connection, key)
    subscriptions.set(key, subscription)
    this.#activate(subscription)
  }

  /** Hooks, then the key, then the answer; at once where nothing has to be waited for. */
  #activate (subscription: Subscription): void {
    const { connection, key } = subscription
    const scope = this.scopeOf(key)
    let allowed
    try {
      allowed = runHooks(scope.chain('preSubscribe'), connection.messageContext, { key })
    } catch (thrown) {
      return this.#refuse(subscription, thrown)
    }
    if (allowed === undefined) return this.#admit(subscription, scope)
    // one that is asked for again: what is published meanwhile must not answer before the hook has
    this.#end(subscription)
    allowed.then(() => { this.#admit(subscription, scope) }, (thrown: unknown) => { this.#refuse(subscription, thrown) })
  }

  #admit (subscription: Subscription, scope: Scope): void {
    subscription.scope = scope
    subscription.failures = 0
    this.#joinWhenHere(subscription)
  }

  /** @param isRefreshed whether the backend has been asked: that the client knows more is its mistake, then */
  #joinWhenHere (subscription: Subscription, isRefreshed = false): void {
    const { key, epoch, version } = subscription
    if (!this.#isCurrent(subscription)) {
      this.#unreadable.delete(key)
      return this.store.idle(key)
    }
    // the key has become another scope's meanwhile, which may have hooks of its own
    if (subscription.scope !== this.scopeOf(key)) return this.#activate(subscription)
    const channel = this.#channels.get(key)
    if (channel?.source !== undefined && subscription.connection.protocol === 2) return this.#follow(subscription, channel.source(subscription.connection))
    const replica = this.store.replica(key)
    // asked again each time: it may have been released meanwhile
    if (isThenable(replica)) return this.#joinAfter(replica.then(() => { this.#joinWhenHere(subscription, isRefreshed) }), subscription)
    if (isRefreshed || epoch !== replica.epoch || version <= replica.version) return this.#join(subscription, replica)
    this.#joinAfter(this.store.refresh(key).then(() => { this.#joinWhenHere(subscription, true) }), subscription)
  }

  /** Where the backend is away, the subscription waits for it: the client would only ask again. */
  #joinAfter (ready: Promise<void>, subscription: Subscription): void {
    const { key } = subscription
    ready.then(() => { this.#unreadable.delete(key) }, (error: unknown) => {
      if (!this.#unreadable.has(key)) this.log.error({ err: error, key }, 'a key that a client subscribes to cannot be read; it is tried again until it can')
      this.#unreadable.add(key)
      setTimeout(() => { this.#joinWhenHere(subscription) }, RETRY).unref()
    })
  }

  #join (subscription: Subscription, replica: Replica): void {
    if (!this.#isCurrent(subscription)) return this.store.idle(subscription.key)
    let liveKey = this.#keys.get(subscription.key)
    if (liveKey === undefined) this.#keys.set(subscription.key, liveKey = this.#open(replica, this, this.#channels.get(subscription.key)?.info))
    this.#follow(subscription, liveKey)
  }

  #follow (subscription: Subscription, source: Source): void {
    source.subscriptions.add(subscription)
    subscription.source = source
    subscription.connection.markStale(subscription)
  }

  /** The key has become something else, or is it no more. */
  #rejoin (key: string): void {
    const subscriptions = []
    for (const ofConnection of this.#byConnection.values()) {
      const subscription = ofConnection.get(key)
      if (subscription?.source !== undefined) subscriptions.push(subscription)
    }
    for (const subscription of subscriptions) {
      this.#end(subscription)
      subscription.version = -1
    }
    for (const subscription of subscriptions) this.#joinWhenHere(subscription)
  }

  /** Whether it has not been ended while it waited. */
  #isCurrent (subscription: Subscription): boolean {
    return this.#byConnection.get(subscription.connection)?.get(subscription.key) === subscription
  }

  #end (subscription: Subscription): void {
    const { source, key, connection } = subscription
    connection.forgetStale(subscription)
    if (source === undefined) return
    subscription.source = undefined
    source.subscriptions.delete(subscription)
    if (source.subscriptions.size > 0 || this.#keys.get(key) !== source) return
    this.#keys.delete(key)
    this.store.idle(key)
  }

  /** @param thrown by a hook */
  #refuse (subscription: Subscription, thrown: unknown): void {
    const { code, message, more } = refusalOf(this, thrown, { source: 'preSubscribe', key: subscription.key, connection: subscription.connection.context })
    if (!this.#isCurrent(subscription)) return
    if (more.retryAfter !== undefined && (subscription.asked === undefined || subscription.connection.protocol === 1)) return this.#activateLater(subscription, more.retryAfter)
    // who has its answer already hears that it gets no more
    const { connection, key, asked = connection.protocol === 1 ? [] : UNASKED } = subscription
    this.unsubscribe(connection, key)
    for (const correlationId of asked) connection.sendError(correlationId, code, message, { ...more, key })
  }

  /** Its client asks once, or not at all: the hooks are asked again, until they can decide. */
  #activateLater (subscription: Subscription, retryAfter: number): void {
    const delay = Math.min(LONGEST_RETRY, retryAfter * 2 ** subscription.failures++) * (0.5 + Math.random() / 2)
    setTimeout(() => { if (this.#isCurrent(subscription) && subscription.source === undefined) this.#activate(subscription) }, delay).unref()
  }

  #moved (replica: Replica, from: number): void {
    const { key, live } = replica
    this.names.moved(key, live)
    const liveKey = this.#keys.get(key)
    liveKey?.moved()
    const channel = this.#channels.get(key)
    if (channel?.moved !== undefined) channel.moved(replica, from)
    else liveKey?.publish(from)
    if (!live && liveKey !== undefined) this.#leave(key, liveKey)
  }

  /** Clients of version 1 mirror what is live: one that is so no more costs them nothing, once they know. */
  #leave (key: string, { subscriptions }: LiveSource): void {
    for (const subscription of subscriptions) {
      const { connection } = subscription
      if (connection.protocol !== 1) continue
      subscription.told = () => {
        subscription.told = undefined
        if (this.names.has(key) || !this.#isCurrent(subscription)) return
        this.#byConnection.get(connection)!.delete(key)
        this.#end(subscription)
      }
      connection.markStale(subscription)
    }
  }
}
