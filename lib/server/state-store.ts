import { randomUUID } from 'node:crypto'
import type { CommitNotice, CommitRequest, CommitResult, Journal, LogEntry, Snapshot, StateBackend, Unsubscribe } from '../backend/backend.js'
import { clonePlain } from '../protocol/json.js'
import type { Operation } from '../protocol/messages.js'
import { messageOf } from './errors.js'
import type { Logger } from './logger.js'
import type { Metrics } from './metrics.js'
import { Replica } from './replica.js'
import type { Settings } from './settings.js'
import { type Prepared, type Write, deleteWrite, prepare, setWrite, updateWrite } from './write.js'

/** Told when a replica has moved: `from` is the version before, or -1 where there is no way from it by patches. */
export type ReplicaListener = (replica: Replica, from: number) => void

/** Writes that go out together as consecutive versions, at the most. */
const MAX_BATCH = 64

/** A log this much longer than the value (bytes) is worth a new snapshot, even for tiny values. */
const MIN_LOG = 64 * 1024

interface Key {
  replica: Replica
  loading: Promise<Replica> | undefined
  writes: Write[]
  isWriting: boolean
  /** While a commit is with the journal the replica stands still: its answer brings what others did. */
  isCommitting: boolean
  /** The newest notice that came meanwhile. */
  noticed: CommitNotice | undefined
  logBytes: number
  unsubscribe: Unsubscribe
}

/** The keys that this node holds: replicas, their writers in line, and what other nodes commit. */
export class StateStore {
  onMoved: ReplicaListener = () => {}
  /** What has to be waited for before the backend can be used. */
  ready: () => Promise<void> | undefined = () => undefined
  /** Whether someone on this node needs the key, so that it stays. */
  isNeeded: (key: string) => boolean = () => false
  readonly #keys = new Map<string, Key>()
  readonly #stopDoubt: Unsubscribe | undefined

  constructor (
    readonly backend: StateBackend,
    readonly journal: Journal,
    readonly settings: Settings,
    readonly metrics: Metrics,
    readonly log: Logger
  ) {
    this.#stopDoubt = backend.onDoubt?.(() => { this.#readAll() })
  }

  /** The replica of a key, at once where this node has it. */
  replica (key: string): Replica | Promise<Replica> {
    const entry = this.#keys.get(key)
    if (entry === undefined) return this.#open(key).loading!
    return entry.loading ?? entry.replica
  }

  /** The committed value, as a copy that the caller owns. */
  async get (key: string): Promise<unknown> {
    const replica = await this.replica(key)
    const value = clonePlain(replica.document.value)
    this.release(key)
    return value
  }

  set (key: string, value: unknown, live: boolean): Promise<Operation[]> {
    return new Promise((resolve, reject) => {
      const write = setWrite(value, live, this.settings.maxJsonDepth, { resolve, reject })
      const entry = this.#keys.get(key) ?? this.#open(key)
      if (entry.isWriting || entry.loading !== undefined) write.capture()
      this.#write(entry, write)
    })
  }

  update (key: string, recipe: (draft: unknown) => unknown, live: boolean): Promise<Operation[]> {
    return new Promise((resolve, reject) => {
      if (typeof recipe !== 'function') throw new TypeError(`update("${key}"): the recipe must be a function`)
      this.#write(this.#keys.get(key) ?? this.#open(key), updateWrite(recipe, live, this.settings.maxJsonDepth, { resolve, reject }))
    })
  }

  /** Resolves to whether there was a value. */
  async delete (key: string): Promise<boolean> {
    const { version } = await this.replica(key)
    if (version === 0) return false
    await new Promise((resolve, reject) => { this.#write(this.#keys.get(key) ?? this.#open(key), deleteWrite({ resolve, reject })) })
    return true
  }

  /** Forgets a key without a value that nobody waits for, so that names which clients make up cost nothing. */
  release (key: string): void {
    const entry = this.#keys.get(key)
    if (entry === undefined || entry.replica.version > 0 || entry.loading !== undefined || entry.isWriting || this.isNeeded(key)) return
    this.#keys.delete(key)
    entry.unsubscribe()
  }

  /** Resolves once the replica is as new as the backend was when this was called. */
  async refresh (key: string): Promise<void> {
    const entry = this.#keys.get(key)
    if (entry !== undefined && !entry.isCommitting) await this.#read(entry)
  }

  close (): void {
    this.#stopDoubt?.()
    for (const { unsubscribe } of this.#keys.values()) unsubscribe()
    this.#keys.clear()
  }

  #open (key: string): Key {
    const entry: Key = { replica: new Replica(key), loading: undefined, writes: [], isWriting: false, isCommitting: false, noticed: undefined, logBytes: 0, unsubscribe: () => {} }
    this.#keys.set(key, entry)
    entry.loading = this.#load(entry)
    return entry
  }

  async #load (entry: Key): Promise<Replica> {
    try {
      await this.ready()
      // before reading, so that nothing committed in between is missed
      entry.unsubscribe = this.backend.subscribe(storageKey(entry.replica.key), (_, notice) => { this.#noticed(entry, notice as CommitNotice) })
      await entry.unsubscribe.ready
      await this.#read(entry)
      return entry.replica
    } catch (error) {
      // the next one who asks tries again
      this.#keys.delete(entry.replica.key)
      entry.unsubscribe()
      throw error
    } finally {
      entry.loading = undefined
    }
  }

  async #read (entry: Key): Promise<void> {
    const { replica } = entry
    const { epoch, version, live } = replica
    const have = epoch === '' ? undefined : replica.head
    let record = await this.journal.read(storageKey(replica.key), have)
    // a commit of ours that is under way meanwhile brings the same, or more
    while (!entry.isCommitting && !replica.adopt(record)) record = await this.journal.read(storageKey(replica.key), replica.head)
    if (epoch === '') return
    if (replica.epoch !== epoch) this.onMoved(replica, -1)
    else if (replica.version !== version || replica.live !== live) this.onMoved(replica, replica.live === live ? version : -1)
  }

  #write (entry: Key, write: Write): void {
    entry.writes.push(write)
    if (!entry.isWriting) void this.#writeAll(entry)
  }

  /** One batch after the other, for as long as someone waits. Never rejects: every write is settled. */
  async #writeAll (entry: Key): Promise<void> {
    entry.isWriting = true
    try {
      if (entry.loading !== undefined) await entry.loading
    } catch (error) {
      for (const { reject } of entry.writes) reject(error)
      return
    }
    while (entry.writes.length > 0) {
      const batch = takeBatch(entry.writes)
      try {
        await this.#commit(entry, batch)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    entry.isWriting = false
    this.release(entry.replica.key)
  }

  async #commit (entry: Key, batch: Write[]): Promise<void> {
    const { replica } = entry
    for (;;) {
      const prepared = this.#prepare(replica, batch)
      const live = prepared.some(({ write }) => write.live)
      const commits = prepared.filter(({ entry }) => entry !== undefined).map(({ entry }) => entry!)
      const base = replica.head
      const reset = batch[0]!.resets ? { epoch: randomUUID(), id: randomUUID() } : undefined
      if (reset !== undefined || commits.length > 0 || (live && !replica.live && replica.version > 0)) {
        const snapshot = this.#snapshot(entry, prepared)
        const result = await this.#send(entry, { base, commits, live, snapshot, reset })
        if (!result.accepted) {
          for (const { write, patches } of prepared) write.lost?.(replica.document, patches)
          if (!replica.adopt(result.missed)) await this.#read(entry)
          else this.onMoved(replica, -1)
          batch = prepared.map(({ write }) => write)
          continue
        }
        entry.logBytes = result.logBytes
        this.metrics.commits += commits.length
        this.#accepted(replica, base.version, commits, live, reset?.epoch)
      }
      for (const { write, patches } of prepared) write.resolve(patches)
      return
    }
  }

  async #send (entry: Key, request: CommitRequest): Promise<CommitResult> {
    entry.isCommitting = true
    try {
      return await this.journal.commit(storageKey(entry.replica.key), request)
    } finally {
      entry.isCommitting = false
      const { noticed } = entry
      entry.noticed = undefined
      // once the answer has been taken in, see whether it told all
      if (noticed !== undefined) queueMicrotask(() => { this.#noticed(entry, noticed) })
    }
  }

  #accepted (replica: Replica, from: number, commits: LogEntry[], live: boolean, resetTo: string | undefined): void {
    if (resetTo !== undefined) {
      replica.reset(resetTo)
      this.onMoved(replica, -1)
      return
    }
    const becameLive = live && !replica.live
    replica.live ||= live
    replica.advance(from, commits)
    this.onMoved(replica, becameLive ? -1 : from)
  }

  /** Computes each write on top of those before it. One that fails is rejected, and is as if it had not been. */
  #prepare ({ key, document }: Replica, batch: Write[]): Prepared[] {
    const prepared = []
    const start = document.mark()
    for (const write of batch) {
      const before = document.mark()
      try {
        prepared.push(prepare(key, document, write, this.settings.maxStateBytes))
        document.release()
      } catch (error) {
        document.rollback(before)
        write.reject(error)
      }
    }
    document.rollback(start)
    return prepared
  }

  /** A whole value that is written anyway, or a new one of the base where the log has outgrown the value. */
  #snapshot ({ replica, logBytes }: Key, prepared: Prepared[]): Snapshot | undefined {
    let version = replica.version
    let snapshot: Snapshot | undefined
    for (const { entry, whole } of prepared) {
      if (entry !== undefined) version++
      if (whole !== undefined) snapshot = { version, value: whole }
    }
    if (snapshot === undefined && replica.version > 0 && logBytes > Math.max(MIN_LOG, replica.document.size)) {
      snapshot = { version: replica.version, value: JSON.stringify(replica.document.value) }
    }
    return snapshot
  }

  #noticed (entry: Key, notice: CommitNotice): void {
    const { replica } = entry
    const { base, head, live, commits } = notice
    if (entry.loading !== undefined || (replica.covers(head) && replica.live === live)) return
    if (entry.isCommitting) {
      entry.noticed = notice
      return
    }
    const version = replica.version
    if (commits !== undefined && base.epoch === replica.epoch && head.epoch === replica.epoch && base.version <= version && replica.live === live) {
      replica.advance(base.version, commits)
      this.onMoved(replica, version)
      return
    }
    this.#catchUp(entry)
  }

  #readAll (): void {
    for (const entry of this.#keys.values()) if (entry.loading === undefined && !entry.isCommitting) this.#catchUp(entry)
  }

  #catchUp (entry: Key): void {
    this.#read(entry).catch((error: unknown) => {
      this.log.error({ err: error, key: entry.replica.key }, `a key could not be read again: ${messageOf(error)}`)
    })
  }
}

/** A deletion goes alone: it starts a new epoch. */
function takeBatch (writes: Write[]): Write[] {
  let end = 1
  if (!writes[0]!.resets) while (end < writes.length && end < MAX_BATCH && !writes[end]!.resets) end++
  return writes.splice(0, end)
}

/** Keys of states, apart from whatever else is in the backend. */
export function storageKey (key: string): string {
  return `state:${key}`
}

export function stateKey (storageKey: string): string {
  return storageKey.slice('state:'.length)
}
