import { isThenable } from '../../protocol/errors.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Settings } from '../config/settings.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { BadFrame, parsePayload, requireName } from '../connection/payload.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import { Refusal } from '../errors/refusal.js'
import { refusalOf } from '../errors/thrown.js'
import { type Scope, runHooks } from '../scope/scope.js'
import type { Replica } from '../store/replica.js'
import type { StateStore } from '../store/state-store.js'
import type { KeyRegistry } from './registry.js'
import { type KeySource, type Kind, type SourceHost, publishFrom } from './source.js'
import { type Source, Subscription } from './subscription.js'

/** ms before a key that could not be read is read again. */
const RETRY = 1000

/** Longest delay (ms) before failed hooks run again. */
const LONGEST_RETRY = 30_000

interface Wanted { key: string, epoch?: string, version?: number, type?: string, nodeId?: string }

/** Determines the kind of a key. `type` is the CRDT type that a client asked for, if any. */
export type KindOf = (key: string, type: string | undefined) => Kind | Promise<Kind>

/** The subscriptions of all connections, to keys of every kind. */
export class Subscriptions implements SourceHost {
  /** Keys with subscribers on this node, by store, because several stores may have a key of the same name. */
  readonly #sources = new Map<StateStore, Map<string, KeySource>>()
  readonly #byConnection = new Map<Connection, Map<string, Subscription>>()
  /** Keys that could not be read, and that a client waits for. */
  readonly #unreadable = new Set<string>()
  readonly #keys: KeyRegistry
  readonly #kindOf: KindOf
  readonly #contract: ContractChecks

  constructor (readonly settings: Settings, keys: KeyRegistry, kindOf: KindOf, contract: ContractChecks, readonly metrics: Metrics, readonly log: Logger) {
    this.#keys = keys
    this.#kindOf = kindOf
    this.#contract = contract
  }

  /** Number of subscriptions of all connections. */
  get size (): number { return Array.from(this.#byConnection.values()).reduce((sum, { size }) => sum + size, 0) }

  get compressionThreshold (): number { return this.settings.compressionThreshold }

  /** Whether a key of a store has subscribers on this node. */
  has (key: string, store: StateStore): boolean {
    return this.#sources.get(store)?.has(key) ?? false
  }

  /** The keys of a store that have subscribers on this node. */
  sourcesOf (store: StateStore): ReadonlyMap<string, KeySource> { return this.#sources.get(store) ?? new Map() }

  /** The keys that a connection subscribes to. */
  keysOf (connection: Connection): string[] { return [...this.#byConnection.get(connection)?.keys() ?? []] }

  readonly frames: { readonly [Opcode.SUBSCRIBE]: FrameHandler<Wanted>, readonly [Opcode.UNSUBSCRIBE]: FrameHandler<string> } = {
    [Opcode.SUBSCRIBE]: {
      charge: {
        scopeOf: ({ key }) => this.#keys.scopeOf(key),
        limitOf: ({ subscriptions }) => subscriptions,
        knownAs: () => '$subscribe'
      },
      read: (frame) => this.#read(frame),
      about: ({ key }) => ({ key }),
      handle: (connection, correlationId, wanted) => { this.#subscribe(connection, correlationId, wanted) }
    },
    [Opcode.UNSUBSCRIBE]: {
      read: (frame) => requireName(parsePayload(frame, this.settings.maxJsonDepth).key, 'key'),
      handle: (connection, _correlationId, key) => { this.unsubscribe(connection, key) }
    }
  }

  #read (frame: Buffer): Wanted {
    const { key: asked, epoch, version, type, nodeId } = parsePayload(frame, this.settings.maxJsonDepth)
    const key = requireName(asked, 'key')
    if (epoch !== undefined) requireName(epoch, 'epoch')
    if (type !== undefined) requireName(type, 'type')
    if (nodeId !== undefined) requireName(nodeId, 'nodeId')
    if (version !== undefined && !Number.isSafeInteger(version)) throw new BadFrame('the member "version" is not a whole number')
    return { key, epoch, version, type, nodeId } as Wanted
  }

  /**
   * Subscribes a client. Its SUBSCRIBE is answered by patches, a snapshot or an ERROR.
   * @throws Refusal
   */
  #subscribe (connection: Connection, correlationId: number, { key, epoch = '', version = -1, type, nodeId }: Wanted): void {
    const subscriptions = this.#of(connection)
    let subscription = subscriptions.get(key)
    if (subscription === undefined) {
      const { maxSubscriptions } = this.settings
      if (connection.subscriptions >= maxSubscriptions && connection.protocol !== 1) {
        throw new Refusal('LIMIT_EXCEEDED', `a connection may have ${maxSubscriptions} subscriptions`)
      }
      subscriptions.set(key, subscription = new Subscription(connection, key))
      connection.work.subscriptions++
    }
    const asked = (subscription.asked ??= [])
    if (asked.length >= this.settings.maxCallsInFlight) throw new Refusal('BUSY', 'too many subscriptions to this key wait for an answer', { retryAfter: 100 })
    asked.push(correlationId)
    Object.assign(subscription, { epoch, version, type, nodeId })
    this.#activate(subscription)
  }

  /** Subscribes a client of protocol version 1, which does not ask for keys. */
  mirror (connection: Connection, key: string): void {
    const subscriptions = this.#of(connection)
    if (subscriptions.has(key)) return
    const subscription = new Subscription(connection, key)
    subscriptions.set(key, subscription)
    this.#activate(subscription)
  }

  unsubscribe (connection: Connection, key: string): void {
    const subscriptions = this.#byConnection.get(connection)
    const subscription = subscriptions?.get(key)
    if (subscription === undefined) return
    subscriptions!.delete(key)
    connection.work.subscriptions--
    this.#end(subscription)
  }

  disconnected (connection: Connection): void {
    const subscriptions = this.#byConnection.get(connection)
    this.#byConnection.delete(connection)
    for (const subscription of subscriptions?.values() ?? []) this.#end(subscription)
  }

  /** Handles a changed replica. If the key has a channel, the channel may decide when subscribers get the change. */
  committed (kind: Kind, store: StateStore, replica: Replica, from: number): void {
    const { key } = replica
    const source = this.#sources.get(store)?.get(key)
    source?.expire()
    const channel = this.#keys.kindOf(key) === kind.name && kind.storeOf(key) === store ? this.#keys.channelOf(key) : undefined
    if (channel?.onCommit !== undefined) channel.onCommit(replica, from)
    else publishFrom(from, source, store.kind, this)
    if (!replica.live && source !== undefined) this.#leave(source)
  }

  /** Sends subscribers of a key its changes since a version, or, with -1, a catch-up. */
  publish (key: string, store: StateStore, from: number): void {
    publishFrom(from, this.#sources.get(store)?.get(key), store.kind, this)
  }

  /** Sends a client the whole value, because the client and this node disagree about it. */
  resync (connection: Connection, key: string): void {
    const subscription = this.#byConnection.get(connection)?.get(key)
    if (subscription?.source === undefined) return
    subscription.version = -1
    connection.markStale(subscription)
  }

  /** Subscribes the subscribers of a key again, because its channel or scope has changed. */
  rejoin (key: string): void {
    const subscriptions = []
    for (const ofConnection of this.#byConnection.values()) {
      const subscription = ofConnection.get(key)
      if (subscription?.source !== undefined) subscriptions.push(subscription)
    }
    for (const subscription of subscriptions) {
      this.#end(subscription)
      subscription.version = -1
    }
    for (const subscription of subscriptions) this.#join(subscription)
  }

  /** Runs the hooks, loads the key, and answers. Synchronous if nothing has to be waited for. */
  #activate (subscription: Subscription): void {
    const { connection, key } = subscription
    const scope = this.#keys.scopeOf(key)
    let allowed
    try {
      allowed = runHooks(scope.chain('preSubscribe'), connection.messageContext, { key, ...this.#contract.keyParams(key) })
    } catch (thrown) {
      return this.#refuse(subscription, thrown)
    }
    if (allowed === undefined) return this.#admit(subscription, scope)
    // a repeated SUBSCRIBE must not be answered before the hook has allowed it
    this.#end(subscription)
    allowed.then(() => { this.#admit(subscription, scope) }, (thrown: unknown) => { this.#refuse(subscription, thrown) })
  }

  #admit (subscription: Subscription, scope: Scope): void {
    subscription.scope = scope
    subscription.failures = 0
    this.#join(subscription)
  }

  /**
   * Attaches a subscription to its source. It runs again after each wait, because the key may have changed meanwhile.
   * @param found the kind of an undeclared key, if the store has been asked for it
   */
  #join (subscription: Subscription, isRefreshed = false, found?: Kind): void {
    const { key, type, connection } = subscription
    if (!this.#isCurrent(subscription)) {
      this.#unreadable.delete(key)
      return
    }
    // the key belongs to another scope now, with its own hooks
    if (subscription.scope !== this.#keys.scopeOf(key)) return this.#activate(subscription)
    const channel = this.#keys.channelOf(key)
    if (channel?.source !== undefined && connection.protocol !== 1) return this.#follow(subscription, channel.source(connection))
    const kind = found === undefined || this.#keys.has(key) ? this.#kindOf(key, type) : found
    if (isThenable(kind)) return this.#joinAfter(kind, subscription, (known) => { this.#join(subscription, isRefreshed, known) })
    const store = kind.storeOf(key)
    const replica = store.replica(key)
    if (isThenable(replica)) return this.#joinAfter(replica, subscription, () => { this.#join(subscription, isRefreshed, kind) }, store)
    if (!isRefreshed && subscription.epoch === replica.epoch && subscription.version > replica.version) {
      // another node has sent the client a newer version, so read the backend
      return this.#joinAfter(store.refresh(key), subscription, () => { this.#join(subscription, true, kind) }, store)
    }
    let sources = this.#sources.get(store)
    if (sources === undefined) this.#sources.set(store, sources = new Map())
    let source = sources.get(key)
    if (source === undefined) sources.set(key, source = kind.open(replica, channel?.info))
    this.#follow(subscription, source, store)
  }

  /** Waits for the backend, and retries if it fails. An error would only make the client ask again. */
  #joinAfter<T> (ready: PromiseLike<T>, subscription: Subscription, join: (result: T) => void, store?: StateStore): void {
    const { key } = subscription
    ready.then((result) => {
      this.#unreadable.delete(key)
      join(result)
      if (!this.#isCurrent(subscription)) store?.idle(key)
    }, (error: unknown) => {
      if (!this.#unreadable.has(key)) this.log.error({ err: error, key }, 'a key that a client subscribes to cannot be read; the server keeps trying')
      this.#unreadable.add(key)
      setTimeout(() => { this.#join(subscription) }, RETRY).unref()
    })
  }

  #follow (subscription: Subscription, source: Source, store?: StateStore): void {
    source.subscriptions.add(subscription)
    subscription.source = source
    subscription.store = store
    subscription.connection.markStale(subscription)
  }

  /** Whether the subscription still exists after a wait. */
  #isCurrent (subscription: Subscription): boolean {
    return this.#byConnection.get(subscription.connection)?.get(subscription.key) === subscription
  }

  #of (connection: Connection): Map<string, Subscription> {
    let subscriptions = this.#byConnection.get(connection)
    if (subscriptions === undefined) this.#byConnection.set(connection, subscriptions = new Map())
    return subscriptions
  }

  #end (subscription: Subscription): void {
    const { source, store, key, connection } = subscription
    connection.forgetStale(subscription)
    if (source === undefined) return
    subscription.source = undefined
    source.subscriptions.delete(subscription)
    if (store === undefined || source.subscriptions.size > 0) return
    this.#sources.get(store)!.delete(key)
    store.idle(key)
  }

  /** @param thrown by a hook */
  #refuse (subscription: Subscription, thrown: unknown): void {
    const { code, message, more } = refusalOf(this, thrown, { source: 'preSubscribe', key: subscription.key, connection: subscription.connection.context })
    if (!this.#isCurrent(subscription)) return
    if (more.retryAfter !== undefined && (subscription.asked === undefined || subscription.connection.protocol === 1)) return this.#activateLater(subscription, more.retryAfter)
    // a client that has had its answer still gets an ERROR, with id 0; one of version 1 never asked
    const { connection, key, asked = connection.protocol === 1 ? [] : [0] } = subscription
    this.unsubscribe(connection, key)
    for (const correlationId of asked) connection.sendError(correlationId, code, message, { ...more, key })
  }

  /** Runs failed hooks again later, because the client does not repeat its SUBSCRIBE. */
  #activateLater (subscription: Subscription, retryAfter: number): void {
    const delay = Math.min(LONGEST_RETRY, retryAfter * 2 ** subscription.failures++) * (0.5 + Math.random() / 2)
    setTimeout(() => { if (this.#isCurrent(subscription) && subscription.source === undefined) this.#activate(subscription) }, delay).unref()
  }

  /** Unsubscribes version 1 clients from a deleted key after they have seen the deletion, to free memory. */
  #leave ({ replica, subscriptions }: KeySource): void {
    for (const subscription of subscriptions) {
      const { connection, key } = subscription
      if (connection.protocol !== 1) continue
      subscription.told = () => {
        subscription.told = undefined
        if (replica.live || !this.#isCurrent(subscription)) return
        this.#byConnection.get(connection)!.delete(key)
        this.#end(subscription)
      }
      connection.markStale(subscription)
    }
  }
}
