import type { BackendUnsubscribe, Journal, StateBackend } from '../../backend/backend.js'
import { SnapshotJournal } from './snapshot-journal.js'
import { Bus, type BusHandlers } from '../bus/bus.js'
import type { Settings } from '../config/settings.js'
import type { Logger } from '../context/logger.js'
import { Readiness } from '../lifecycle/readiness.js'
import { within } from '../lifecycle/until.js'
import type { BackendHealth, Metrics } from '../metrics/metrics.js'
import { StateStore, type StoreOwner } from './state-store.js'

/** JSON levels around a value in a session or a CRDT, which store a timestamp with each field. */
const FIELD_DEPTH = 3

/** Most bytes of a stored session. Several nodes may have filled it together, each within its own bound. */
const MAX_MERGED_SESSION = 4 * 1024 * 1024

/** The owners of the stores. */
export interface StorageOwners {
  state: StoreOwner
  crdt: StoreOwner
  /** Called when messages between nodes may have been lost. The stores recover by themselves. */
  onMessagesLost (storage: Storage): void
  /** See `Hub.joining`. */
  joining (): Promise<unknown> | undefined
}

/** The health of a backend. `lagMs` is the time that a message takes to the backend and back. */
export type Health = Pick<BackendHealth, 'ready' | 'lagMs'>

/** A key without a value, read to see whether the backend answers. */
const HEALTH_KEY = 'health'

/** Everything that uses one backend: the journal, the stores, and the bus between nodes. */
export class Storage {
  readonly journal: Journal
  readonly state: StateStore
  readonly crdt: StateStore
  readonly bus: Bus
  readonly #settings: Settings
  readonly #onUsable: (storage: Storage) => void
  readonly #metrics: Metrics
  readonly #log: Logger
  readonly #stores: StateStore[] = []
  #stopListening: BackendUnsubscribe | undefined
  readonly #readiness: Readiness
  #isConnected = false
  #connecting: Promise<void> | undefined
  #checking: Promise<Health> | undefined
  #reading: Promise<unknown> | undefined

  /** @param onUsable called when the backend can be used, if it has to connect first */
  constructor (readonly backend: StateBackend, owners: StorageOwners, onUsable: (storage: Storage) => void, settings: Settings, metrics: Metrics, log: Logger) {
    this.#settings = settings
    this.#onUsable = onUsable
    this.#metrics = metrics
    this.#log = log
    this.#readiness = new Readiness('backend', backend.connect === undefined)
    this.journal = journalOf(backend, () => owners.joining())
    this.bus = new Bus(backend, () => this.ready() ?? owners.joining(), log)
    this.state = this.#open('state:', owners.state, {})
    this.crdt = this.#open('crdt:', owners.crdt, { maxJsonDepth: settings.maxJsonDepth + FIELD_DEPTH })
    this.#stopListening = backend.onDoubt?.(() => { if (this.isUsable) owners.onMessagesLost(this) })
  }

  /** Opens the store of the sessions of a scope. */
  openSessions (prefix: string, owner: StoreOwner, ttlMs: number | undefined): StateStore {
    return this.#open(prefix, owner, { ttlMs, maxIdle: 0, maxStateBytes: MAX_MERGED_SESSION, maxJsonDepth: this.#settings.maxJsonDepth + FIELD_DEPTH })
  }

  /** Every store in it. */
  get stores (): readonly StateStore[] { return this.#stores }

  /** Whether the backend can be used. A backend that has to connect can be used only after that. */
  get isUsable (): boolean { return this.#readiness.isReady }

  /** The promise to wait for before the backend can be used; undefined if it can be. */
  readonly ready = (): Promise<void> | undefined => this.#readiness.wait()

  /** Makes calls wait for `starting`, which calls `connect` later. */
  announce (starting: Promise<unknown>): void {
    if (this.#connecting === undefined) this.#readiness.announce(starting)
  }

  /** Connects the backend. May be called again. Rejects as the backend does. */
  connect (): Promise<void> {
    if (this.#connecting === undefined) this.#readiness.announce(this.#connecting = this.#connect())
    return this.#connecting
  }

  async #connect (): Promise<void> {
    await this.backend.connect?.(this.#log)
    this.#isConnected = true
    if (this.isUsable) return
    this.#readiness.connected()
    this.#onUsable(this)
  }

  /** Subscribes to the messages of other nodes. */
  async join (handlers: Partial<BusHandlers>): Promise<void> {
    await this.bus.open(handlers)
  }

  /** Tests whether the backend answers, and how fast. Concurrent calls share one test. */
  health (timeoutMs: number): Promise<Health> {
    return (this.#checking ??= this.#check(timeoutMs).finally(() => { this.#checking = undefined }))
  }

  async #check (timeoutMs: number): Promise<Health> {
    if (!this.isUsable) return { ready: false }
    // a read that hangs is not repeated
    this.#reading ??= this.backend.get(HEALTH_KEY).finally(() => { this.#reading = undefined })
    try {
      const [lagMs] = await within(timeoutMs, Promise.all([this.bus.probe(), this.#reading]), () => new Error('late'))
      return { ready: true, lagMs }
    } catch {
      return { ready: false } // the backend itself logs the error
    }
  }

  /** Closes the stores, and releases what `connect` acquired. */
  async close (): Promise<void> {
    this.bus.close()
    this.#stopListening?.()
    this.#stopListening = undefined
    for (const store of this.#stores.splice(0)) store.close()
    await this.#connecting?.catch(() => {}) // the caller of `connect` gets the error
    if (!this.#isConnected) return
    this.#isConnected = false
    await this.backend.close?.()
  }

  #open (prefix: string, owner: StoreOwner, options: { ttlMs?: number | undefined, maxIdle?: number, maxStateBytes?: number, maxJsonDepth?: number }): StateStore {
    const { maxStateBytes, maxJsonDepth } = this.#settings
    const store = new StateStore(this.backend, this.journal, owner, { maxStateBytes, maxJsonDepth, prefix, ready: this.ready, ...options }, this.#metrics, this.#log)
    this.#stores.push(store)
    return store
  }
}

/**
 * A backend's own journal, or one built of its five basic methods.
 * @param joining a commit waits for it, because another node that sees the commit may broadcast to a new member
 */
function journalOf (backend: StateBackend, joining: () => Promise<unknown> | undefined): Journal {
  const { commit, read, liveKeys } = backend
  if (commit === undefined || read === undefined || liveKeys === undefined) return new SnapshotJournal(backend)
  return {
    commit: (key, request) => {
      const joined = joining()
      return joined === undefined ? commit.call(backend, key, request) : joined.then(() => commit.call(backend, key, request))
    },
    read: read.bind(backend),
    liveKeys: liveKeys.bind(backend)
  }
}
