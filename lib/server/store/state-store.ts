import type { BackendUnsubscribe, Journal, StateBackend } from '../../backend/backend.js'
import { invalidArgument } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { Head, Operation } from '../../protocol/messages.js'
import { CatchUp } from './catch-up.js'
import { IdleKeys } from './idle-keys.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Tracer } from '../metrics/tracer.js'
import type { Replica } from './replica.js'
import type { StateHost } from './state-host.js'
import { StateKey } from './state-key.js'
import { type ValueCheck, type Write, type WriteRules, deleteWrite, patchWrite, setWrite, touchWrite, updateWrite } from './write.js'

/** The part of the server that owns a store. It is notified of commits, and decides which keys stay loaded. */
export interface StoreOwner {
  /** A replica has changed. `from` is the version before, or -1 if no patch leads from it to the new one. */
  onCommit (replica: Replica, from: number, store: StateStore): void
  /** A key became live, or was deleted, as a replica has seen; `isOwn` if this node did it. */
  onLiveChange? (key: string, isLive: boolean, isOwn: boolean, store: StateStore): void
  /** Whether the key must stay loaded on this node. */
  isNeeded (key: string, store: StateStore): boolean
  /** Whether later writes need the paths that a commit touched: see `prepare`. */
  keepsPaths? (key: string): boolean
  /** The check for values of a key; undefined if any value is valid. */
  checkOf? (key: string): ValueCheck | undefined
}

/** The prefix of a store in the backend, and its bounds. */
export interface StoreOptions {
  /** Most bytes of a value's JSON. */
  maxStateBytes: number
  maxJsonDepth: number
  /** The promise to wait for before the backend can be used; undefined if it can be. */
  ready: () => Promise<void> | undefined
  /** Prefix of the names of keys in the backend. */
  prefix: string
  /** ms that a key stays in the backend after a commit. Default: for ever. */
  ttlMs?: number
  /** Most cached keys that nobody needs. Default 10,000. */
  maxIdle?: number
}

/** The keys that are loaded on this node, and the methods to read and write them. */
export class StateStore implements StateHost {
  readonly #keys = new Map<string, StateKey>()
  readonly #owner: StoreOwner
  readonly #maxDepth: number
  readonly #metrics: Metrics
  readonly #catchUp: CatchUp
  readonly #idle: IdleKeys
  readonly #stopListening: BackendUnsubscribe | undefined
  readonly maxStateBytes: number
  readonly prefix: string
  readonly ttlMs: number | undefined

  readonly ready: () => Promise<void> | undefined
  /** The kind of its keys: `state`, `crdt` or `session`. */
  readonly kind: string

  constructor (readonly backend: StateBackend, readonly journal: Journal, owner: StoreOwner, { prefix, ttlMs, maxIdle, maxStateBytes, maxJsonDepth, ready }: StoreOptions, metrics: Metrics, log: Logger) {
    this.#owner = owner
    this.prefix = prefix
    this.kind = /^\w+/.exec(prefix)?.[0] ?? ''
    this.ttlMs = ttlMs
    this.ready = ready
    this.#idle = new IdleKeys((name) => { this.#release(name) }, maxIdle)
    this.maxStateBytes = maxStateBytes
    this.#maxDepth = maxJsonDepth
    this.#metrics = metrics
    this.#catchUp = new CatchUp((name) => this.refresh(name), log)
    this.#stopListening = backend.onDoubt?.(() => { this.#catchUp.add(this.#keys.keys()) })
  }

  /** The replica of a key. Synchronous if the key is loaded. */
  replica (name: string): Replica | Promise<Replica> {
    const key = this.#key(name)
    return key.loading ?? key.replica
  }

  /** Number of loaded keys. */
  get size (): number { return this.#keys.size }

  /** The replicas of all loaded keys. */
  * replicas (): IterableIterator<Replica> { for (const { replica } of this.#keys.values()) yield replica }

  /** The replica of a key, if the key is loaded. */
  held (name: string): Replica | undefined { return this.#keys.get(name)?.replica }

  /** The committed value, as a copy that the caller owns. */
  async get (name: string): Promise<unknown> {
    const replica = await this.replica(name)
    const value = clonePlain(replica.document.value)
    this.idle(name)
    return value
  }

  set (name: string, value: unknown, live: boolean): Promise<Operation[]> {
    return new Promise((resolve, reject) => {
      const write = setWrite(value, live, this.#maxDepth, { resolve, reject })
      if (this.#keys.get(name)?.isBusy ?? true) write.capture()
      this.#key(name).write(write)
    })
  }

  update (name: string, recipe: (draft: unknown) => unknown, live: boolean): Promise<Operation[]> {
    return new Promise((resolve, reject) => {
      if (typeof recipe !== 'function') throw invalidArgument(`update("${name}"): the recipe must be a function`)
      this.#key(name).write(updateWrite(recipe, live, this.#maxDepth, { resolve, reject }))
    })
  }

  /**
   * Commits patches that were computed elsewhere, on a value from `read`.
   * @throws DatasoleError `CONFLICT` if the key has changed since
   */
  patch (name: string, base: Head, patches: Operation[], live: boolean): Promise<Operation[]> {
    return new Promise((resolve, reject) => { this.#key(name).write(patchWrite(base, patches, live, { resolve, reject })) })
  }

  /** The committed value as JSON text (undefined if there is none), with its position. */
  async read (name: string): Promise<Head & { value: string | undefined }> {
    const { epoch, version, document } = await this.replica(name)
    const value = JSON.stringify(document.value)
    this.idle(name)
    return { epoch, version, value }
  }

  /** Queues a custom write. The write is always settled. */
  write (name: string, write: Write): void {
    this.#key(name).write(write)
  }

  /**
   * Deletes a value, and resolves to whether there was one.
   * @throws DatasoleError `CONFLICT` if `base` is given, and the key has changed since
   */
  delete (name: string, base?: Head): Promise<boolean> {
    return new Promise((resolve, reject) => { this.#key(name).write(deleteWrite(base, { resolve, reject })) })
  }

  /** Restarts the time to live of a key that has one. */
  touch (name: string): Promise<unknown> {
    return new Promise((resolve, reject) => { this.#key(name).write(touchWrite({ resolve, reject })) })
  }

  /** Reads keys that may be out of date. Retries until it succeeds. */
  recheck (names: Iterable<string>): void {
    this.#catchUp.add(names)
  }

  /** Brings a replica up to date with the backend. */
  async refresh (name: string): Promise<void> {
    await this.#keys.get(name)?.refresh()
  }

  /** All live keys of this store. */
  async liveKeys (): Promise<string[]> {
    const keys = await this.journal.liveKeys(this.prefix)
    // a journal may ignore the prefix
    return keys.filter((key) => key.startsWith(this.prefix)).map((key) => key.slice(this.prefix.length))
  }

  /** Whether the key is live in the backend. */
  async isLive (name: string): Promise<boolean> {
    return (await this.journal.read(this.prefix + name)).live
  }

  /** Whether a loaded replica of the key is live. It follows later changes. */
  holdsLive (name: string): boolean {
    return this.#keys.get(name)?.replica.live === true
  }

  /** Caches a key, unless somebody needs it. Without a value it is unloaded, so that invented names cost no memory. */
  idle (name: string): void {
    if (this.#owner.isNeeded(name, this)) return this.#idle.remove(name)
    const replica = this.#keys.get(name)?.replica
    if (replica === undefined) return
    if (replica.version === 0) this.#release(name)
    else this.#idle.add(name, replica.document.size)
  }

  committed (count: number): void {
    this.#metrics.commits += count
  }

  get tracer (): Tracer | undefined { return this.#metrics.tracer }

  begin (): number { return this.#metrics.begin() }

  waited (since: number): void {
    this.#metrics.end('queue', 'commit', since)
  }

  answered (began: number, accepted: boolean | undefined): void {
    if (accepted === undefined) this.#metrics.commitFailures++
    else if (!accepted) this.#metrics.commitConflicts++
    this.#metrics.end('commit', this.kind, began)
  }

  onCommit (replica: Replica, from: number): void {
    this.#owner.onCommit(replica, from, this)
  }

  onLiveChange (key: string, isLive: boolean, isOwn: boolean): void {
    this.#owner.onLiveChange?.(key, isLive, isOwn, this)
  }

  rulesOf (key: string): WriteRules {
    return { maxBytes: this.maxStateBytes, keepsPaths: this.#owner.keepsPaths?.(key) ?? false, check: this.#owner.checkOf?.(key) }
  }

  fellBehind (name: string, error: unknown): void {
    this.#catchUp.failed(name, error)
  }

  close (): void {
    this.#stopListening?.()
    this.#catchUp.close()
    for (const key of this.#keys.values()) key.close()
    this.#keys.clear()
  }

  #key (name: string): StateKey {
    if (typeof name !== 'string') throw invalidArgument('the key of a state must be a string')
    let key = this.#keys.get(name)
    if (key === undefined) {
      const opened = key = new StateKey(name, this)
      this.#keys.set(name, key)
      key.loading!.catch(() => {
        // the callers get the error; the next call loads it again
        opened.close()
        if (this.#keys.get(name) === opened) this.#keys.delete(name)
      })
    }
    return key
  }

  /** Unloads a key, unless it is in use again. */
  #release (name: string): void {
    const key = this.#keys.get(name)
    if (key === undefined || key.isBusy || this.#owner.isNeeded(name, this)) return
    this.#keys.delete(name)
    this.#idle.remove(name)
    key.close()
  }
}
