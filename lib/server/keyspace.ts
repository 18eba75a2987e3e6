import { setTimeout } from 'node:timers/promises'
import type { StateBackend } from '../backend/backend.js'
import { isThenable } from '../protocol/errors.js'
import type { BusHandlers } from './bus/bus.js'
import { Channels } from './channels/channels.js'
import type { Settings } from './config/settings.js'
import type { ContractChecks } from './contract/contract-checks.js'
import type { Connection } from './connection/connection.js'
import type { Logger } from './context/logger.js'
import type { CrdtInbox } from './crdts/crdt-inbox.js'
import { Crdts } from './crdts/crdts.js'
import { LiveState } from './keys/live-state.js'
import { KeyRegistry } from './keys/registry.js'
import type { Kind } from './keys/source.js'
import { Subscriptions } from './keys/subscriptions.js'
import { V1Mirrors } from './keys/v1-mirrors.js'
import type { Part } from './lifecycle/part.js'
import type { Metrics } from './metrics/metrics.js'
import type { Scope } from './scope/scope.js'
import type { Storage } from './store/storage.js'
import { Storages } from './store/storages.js'

/** ms before another attempt to read the names of keys. */
const RETRY = 1000

/**
 * All keys of the server, JSON and CRDT. One registry knows the owner of each key, one list knows its subscribers,
 * and each backend stores the values of its scopes.
 */
export class Keyspace implements Part {
  readonly storages: Storages
  readonly keys: KeyRegistry
  readonly subscriptions: Subscriptions
  readonly live: LiveState
  readonly crdts: Crdts
  readonly channels: Channels
  readonly #v1: V1Mirrors
  readonly #log: Logger
  #isStarted = false
  #isReloading = false
  #isReloadDue = false

  /** @param joining see `Hub.joining` */
  constructor (settings: Settings, root: Scope, defaultBackend: () => StateBackend, joining: () => Promise<unknown> | undefined, contract: ContractChecks, metrics: Metrics, log: Logger) {
    this.#log = log
    this.keys = new KeyRegistry(root, (key) => {
      this.subscriptions.rejoin(key)
      if (this.keys.has(key)) this.#v1.added(key)
    })
    this.subscriptions = new Subscriptions(settings, this.keys, (key, type) => this.#kindOf(key, type), contract, metrics, log)
    this.live = new LiveState(this.keys, this.subscriptions, (scope, user) => this.storages.of(scope, user).state, (key, isLive, isOwn, store) => {
      if (store !== this.storages.peek(root)?.state) return
      if (isOwn) this.storages.root.bus.publish(isLive ? 'live' : 'gone', { key })
      this.#liveChanged(key, isLive)
    }, (key) => contract.state(key))
    this.crdts = new Crdts(settings, this.keys, this.subscriptions, (scope, user) => this.storages.of(scope, user).crdt, () => this.storages.root, (store) => store === this.storages.peek(root)?.crdt, (scope) => this.#isOpen(scope), contract, {
      added: (key) => { this.#v1.added(key) },
      unsure: () => { void this.#reload() },
      announce: (key, isLive) => { this.storages.root.bus.publish(isLive ? 'crdt' : 'crdtGone', { key }) }
    }, log)
    this.#v1 = new V1Mirrors(this.subscriptions, this.keys, () => this.storages.root.state, this.crdts.names, () => { void this.#reload() }, log)
    const owners = { state: this.live, crdt: this.crdts, joining, onMessagesLost: (storage: Storage) => { if (storage === this.storages.peek(root)) void this.#reload() } }
    this.storages = new Storages(root, defaultBackend, owners, () => { this.#opened() }, settings, metrics, log)
    this.channels = new Channels(settings, this.keys, this.subscriptions, this.crdts, this.storages, contract, (scope) => this.#isOpen(scope), metrics, log)
  }

  get frames (): Subscriptions['frames'] & CrdtInbox['frames'] & Channels['frames'] {
    return { ...this.subscriptions.frames, ...this.crdts.inbox.frames, ...this.channels.frames }
  }

  readonly messages: Partial<BusHandlers> = {
    live: ({ key }) => { this.#liveChanged(key, true) },
    gone: ({ key }) => { this.#liveChanged(key, false) },
    crdt: ({ key }) => { this.crdts.names.add(key) },
    crdtGone: ({ key }) => { void this.crdts.names.deleted(key) }
  }

  /** Runs after the backends have connected. */
  async start (): Promise<void> {
    this.channels.start()
    await this.crdts.start()
    this.#isStarted = true
    this.#opened()
    if (this.#isReloadDue) void this.#reload()
  }

  quiesce (): Promise<void> { return this.channels.quiesce() }
  drain (deadline: number): Promise<void> { return this.channels.drain(deadline) }

  stop (): void {
    this.#isStarted = false
  }

  connected (connection: Connection): void {
    this.#v1.connected(connection)
  }

  disconnected (connection: Connection): void {
    this.subscriptions.disconnected(connection)
    this.#v1.disconnected(connection)
    this.channels.disconnected(connection)
  }

  /** A storage can be used now: creates the keys that were declared for it before. */
  #opened (): void {
    this.crdts.opened()
    this.channels.opened()
  }

  /** Whether the storage of a scope can be used, and no plugin can replace it any more. */
  #isOpen (scope: Scope): boolean {
    return (this.#isStarted || this.storages.isOwn(scope)) && (this.storages.peek(scope)?.isUsable ?? false)
  }

  /** A declared key has its declared kind. For other keys, live state has precedence over CRDTs of clients. */
  #kindOf (key: string, type: string | undefined): Kind | Promise<Kind> {
    const declared = this.keys.kindOf(key)
    if (declared !== undefined) return declared === 'crdt' ? this.crdts : this.live
    if (type === undefined && !this.crdts.names.has(key)) return this.live
    const isClaimed = this.crdts.isClaimed(key)
    if (!isThenable(isClaimed)) return isClaimed ? this.live : this.crdts
    return isClaimed.then((claimed) => claimed ? this.live : this.crdts)
  }

  #liveChanged (key: string, isLive: boolean): void {
    this.#v1.changed(key, isLive)
    this.crdts.stateChanged(key)
  }

  /** Reads the names again after messages between nodes may have been lost. Retries until the backend answers. */
  async #reload (): Promise<void> {
    this.#isReloadDue = true
    if (!this.#isStarted || this.#isReloading) return
    this.#isReloading = true
    for (let hasFailed = false; this.#isReloadDue && this.#isStarted;) {
      this.#isReloadDue = false
      try {
        await this.#v1.reload()
        await this.crdts.reload()
      } catch (error) {
        if (!hasFailed) this.#log.error({ err: error }, 'the names of the keys could not be read again; the server keeps trying')
        hasFailed = true
        this.#isReloadDue = true
        await setTimeout(RETRY, undefined, { ref: false })
      }
    }
    this.#isReloading = false
  }
}
