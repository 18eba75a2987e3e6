import { coded, invalidArgument } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import { SlidingWindows } from '../../protocol/sliding-windows.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import type { CommitNotice, CommitRequest, CommitResult, KeyRecord, LogEntry, Position, Snapshot, StateBackend } from '../backend.js'

interface Log {
  epoch: string
  version: number
  live: boolean
  snapshot: Snapshot
  /** Consecutive commits that end at `version`. Those older than the snapshot are kept for recovery only. */
  entries: LogEntry[]
  /** The id of the commit before `entries`. */
  startId: string
  /** Characters of all entries, and of the entries since the snapshot. */
  size: number
  sizeSinceSnapshot: number
  expiresAt: number
}

/** Bounds of older entries that the log keeps for recovery: characters (or the size of the snapshot), and entries. */
const MIN_LOG = 64 * 1024
const MAX_ENTRIES = 1000

/** Longest time (ms) between two sweeps of expired keys. */
const SWEEP = 60_000

/** Bounds of remembered deleted keys: their number, and ms. */
export const MAX_DELETED = 1000
const DELETED_MS = 60_000

/** State and pub/sub in the memory of one process, for development and tests. Nothing survives a restart. */
export class MemoryBackend implements StateBackend {
  readonly #values = new Map<string, { json: string, expiresAt: number }>()
  readonly #buckets = new SlidingWindows()
  readonly #logs = new Map<string, Log>()
  /** Journal keys that expire, in the order of their last commits. */
  readonly #expiring = new Set<string>()
  #expiry: NodeJS.Timeout | undefined
  readonly #handlers = new Map<string, Set<(key: string, value: unknown) => void>>()
  /** The epoch of keys without a log. It changes when deleted keys are forgotten, so that no epoch returns. */
  #history = crypto.randomUUID()
  /** Remembered deleted keys. Their logs are empty, and each has its own epoch. */
  readonly #deleted = new Set<string>()
  #forgetting: NodeJS.Timeout | undefined
  readonly #deletedMs: number

  /** @internal @param deletedMs ms that deleted keys are remembered */
  constructor (deletedMs = DELETED_MS) {
    this.#deletedMs = deletedMs
  }

  /** @internal Number of journal keys, including remembered deleted ones. */
  get size (): number { return this.#logs.size }

  /** Implements `StateBackend.get`, from memory. */
  async get<T = unknown> (key: string): Promise<T | undefined> {
    const stored = this.#value(key)
    return stored === undefined ? undefined : JSON.parse(stored.json) as T
  }

  /**
   * Implements `StateBackend.set`.
   * @throws TypeError `INVALID_JSON`, or `INVALID_ARGUMENT` for undefined, if JSON cannot hold the value
   */
  async set<T = unknown> (key: string, value: T): Promise<void> {
    const json = stringify(value)
    if (json === undefined) throw invalidArgument(`MemoryBackend.set("${key}"): the value is not JSON`)
    this.#values.set(key, { json, expiresAt: Infinity })
  }

  /** Implements `StateBackend.delete`. */
  async delete (key: string): Promise<boolean> {
    this.#buckets.delete(key)
    return this.#value(key) !== undefined && this.#values.delete(key)
  }

  /** Implements `StateBackend.expire`. @param ttlMs ms */
  async expire (key: string, ttlMs: number): Promise<boolean> {
    const stored = this.#value(key)
    if (stored === undefined) return false
    stored.expiresAt = performance.now() + ttlMs
    setTimeout(() => { this.#value(key) }, ttlMs + 1).unref()
    return true
  }

  /**
   * Implements `StateBackend.consume`, without a promise. There are at most 100,000 buckets; the oldest are dropped.
   * @throws RangeError `INVALID_ARGUMENT` if `cost` is over `rule.maxRequests`
   */
  consume (bucket: string, rule: RateLimitRule, cost: number): RateLimitResult | Promise<never> {
    if (cost > rule.maxRequests) return Promise.reject(coded(new RangeError(`consume("${bucket}"): a cost of ${cost} is over maxRequests (${rule.maxRequests})`), 'INVALID_ARGUMENT'))
    const now = Math.floor(performance.now())
    return this.#buckets.get(bucket, rule, now).consume(now, cost)
  }

  /** Implements `StateBackend.subscribe`. */
  subscribe (key: string, handler: (key: string, value: unknown) => void): Unsubscribe {
    let handlers = this.#handlers.get(key)
    if (handlers === undefined) this.#handlers.set(key, handlers = new Set())
    // a new function each time, so that one handler can subscribe twice
    const own = (channel: string, value: unknown): void => handler(channel, value)
    handlers.add(own)
    return unsubscriber(() => {
      handlers.delete(own)
      if (handlers.size === 0 && this.#handlers.get(key) === handlers) this.#handlers.delete(key)
    })
  }

  /** Implements `StateBackend.publish`. Subscribers get a copy in a microtask. */
  async publish (key: string, value: unknown): Promise<void> {
    const handlers = this.#handlers.get(key)
    if (handlers === undefined) return
    // each subscriber gets its own copy, as from a store; strings need no copy
    const json = typeof value === 'string' ? undefined : JSON.stringify(value)
    queueMicrotask(() => {
      for (const handler of handlers) handler(key, json === undefined ? value : JSON.parse(json))
    })
  }

  /** Implements `Journal.commit`. */
  async commit (key: string, { base, commits, live = false, snapshot, reset, ttlMs }: CommitRequest): Promise<CommitResult> {
    const log = this.#log(key) ?? emptyLog(this.#history)
    if (log.epoch !== base.epoch || log.version !== base.version || headId(log) !== base.id) return { accepted: false, missed: recordOf(log, base) }
    this.#logs.set(key, log)
    if (reset !== undefined) {
      const { epoch, id, value } = reset
      Object.assign(log, emptyLog(epoch), value !== undefined && { version: 1, startId: id, live: log.live, snapshot: { version: 1, value } })
    } else {
      for (const { patches } of commits) {
        log.size += patches.length
        log.sizeSinceSnapshot += patches.length
      }
      log.entries.push(...commits)
      log.version += commits.length
      if (snapshot !== undefined) compact(log, snapshot, live && !log.live)
      log.live ||= live
    }
    if (log.version > 0) this.#deleted.delete(key)
    this.#expire(key, log, log.version > 0 ? ttlMs : undefined)
    const { epoch, version } = log
    this.#notify(key, { base, head: { epoch, version, id: headId(log) }, live: log.live, commits: reset === undefined ? commits : undefined })
    if (version === 0) this.#remember(key)
    return { accepted: true, epoch, version, logBytes: log.sizeSinceSnapshot }
  }

  /** Implements `Journal.read`. */
  async read (key: string, have?: Position): Promise<KeyRecord> {
    return recordOf(this.#log(key) ?? emptyLog(this.#history), have)
  }

  /** Implements `Journal.liveKeys`. */
  async liveKeys (prefix = ''): Promise<string[]> {
    const keys = []
    for (const key of this.#logs.keys()) if (key.startsWith(prefix) && this.#log(key)?.live) keys.push(key)
    return keys
  }

  #value (key: string): { json: string, expiresAt: number } | undefined {
    const stored = this.#values.get(key)
    if (stored === undefined || stored.expiresAt > performance.now()) return stored
    this.#values.delete(key)
    return undefined
  }

  #log (key: string): Log | undefined {
    const log = this.#logs.get(key)
    if (log === undefined || log.expiresAt > performance.now()) return log
    this.#logs.delete(key)
    this.#expiring.delete(key)
    return undefined
  }

  #expire (key: string, log: Log, ttlMs = Infinity): void {
    log.expiresAt = performance.now() + ttlMs
    this.#expiring.delete(key)
    if (ttlMs === Infinity) return
    this.#expiring.add(key)
    this.#expiry ??= setTimeout(this.#sweepLogs, Math.min(ttlMs + 1, SWEEP)).unref()
  }

  #remember (key: string): void {
    this.#deleted.add(key)
    if (this.#deleted.size > MAX_DELETED) this.#forget()
    else this.#forgetting ??= setTimeout(this.#forget, this.#deletedMs).unref()
  }

  /** Starts another epoch for keys without a value, so that late commits on the old one are refused. */
  readonly #forget = (): void => {
    clearTimeout(this.#forgetting)
    this.#forgetting = undefined
    for (const key of this.#deleted) this.#logs.delete(key)
    this.#deleted.clear()
    this.#history = crypto.randomUUID()
  }

  /** Deletes expired keys up to the first that has not expired. If all keys have the same ttl, the rest are younger. */
  readonly #sweepLogs = (): void => {
    this.#expiry = undefined
    for (const key of this.#expiring) {
      const log = this.#log(key)
      if (log === undefined) continue
      this.#expiry = setTimeout(this.#sweepLogs, Math.min(log.expiresAt - performance.now() + 1, SWEEP)).unref()
      return
    }
  }

  /** Publishes a notice. Receivers share it, so they only read it, and keep only its strings. */
  #notify (key: string, notice: CommitNotice): void {
    const handlers = this.#handlers.get(key)
    if (handlers === undefined) return
    queueMicrotask(() => {
      for (const handler of handlers) handler(key, notice)
    })
  }
}

function emptyLog (epoch: string): Log {
  return { epoch, version: 0, live: false, snapshot: { version: 0, value: '' }, entries: [], startId: '', size: 0, sizeSinceSnapshot: 0, expiresAt: Infinity }
}

/** @param becomesLive whether the key becomes live, so that the log drops every entry that the snapshot covers */
function compact (log: Log, snapshot: Snapshot, becomesLive: boolean): void {
  log.snapshot = snapshot
  const kept = becomesLive ? 0 : Math.max(MIN_LOG, snapshot.value.length)
  const since = log.version - snapshot.version
  let drop = 0
  while (log.entries.length - drop > since) {
    const { length } = log.entries[drop]!.patches
    if (log.size - length < kept && log.entries.length - drop <= MAX_ENTRIES) break
    log.size -= length
    drop++
  }
  if (drop > 0) log.startId = log.entries.splice(0, drop).at(-1)!.id
  log.sizeSinceSnapshot = 0
  for (const { patches } of log.entries.slice(log.entries.length - since)) log.sizeSinceSnapshot += patches.length
}

function recordOf (log: Log, have?: Position): KeyRecord {
  const { epoch, version, live, entries } = log
  if (have?.epoch !== epoch) return whole(log)
  const known = idAt(log, have.version)
  if (known === have.id) return { epoch, version, id: headId(log), live, commits: entries.slice(have.version - (version - entries.length)) }
  return have.version > version || known !== undefined ? { ...whole(log), isLost: true } : whole(log)
}

function whole (log: Log): KeyRecord {
  const { epoch, version, live, snapshot, entries } = log
  const commits = entries.slice(snapshot.version - (version - entries.length))
  return { epoch, version, id: headId(log), live, ...snapshot.version > 0 && { snapshot }, commits }
}

function headId (log: Log): string {
  return log.entries.at(-1)?.id ?? log.startId
}

/** The id of the commit that made a version; undefined if the log does not go back so far. */
function idAt ({ version, entries, startId }: Log, at: number): string | undefined {
  const i = at - (version - entries.length) - 1
  return i === -1 ? startId : entries[i]?.id
}
