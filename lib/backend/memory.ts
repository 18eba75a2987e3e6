import type { CommitNotice, CommitRequest, CommitResult, KeyRecord, LogEntry, Snapshot, StateBackend, Unsubscribe } from './backend.js'
import { invalidArgument } from '../protocol/errors.js'
import type { Head } from '../protocol/messages.js'

interface Log {
  epoch: string
  version: number
  live: boolean
  snapshot: Snapshot
  /** Consecutive, ending at `version`; what is older than the snapshot is kept for recovery only. */
  entries: LogEntry[]
  /** Characters of all entries, and of those since the snapshot. */
  size: number
  sizeSinceSnapshot: number
}

/** What the log keeps for recovery beside what the snapshot lacks: at least this much, or as much as the snapshot weighs. */
const MIN_LOG = 64 * 1024
const MAX_ENTRIES = 1000

/** Everything in this process's memory: for one process, development and tests. Nothing survives a restart. */
export class MemoryBackend implements StateBackend {
  readonly #values = new Map<string, string>()
  readonly #logs = new Map<string, Log>()
  readonly #handlers = new Map<string, Set<(key: string, value: unknown) => void>>()
  readonly #history = crypto.randomUUID()

  async get<T = unknown> (key: string): Promise<T | undefined> {
    const json = this.#values.get(key)
    return json === undefined ? undefined : JSON.parse(json) as T
  }

  async set<T = unknown> (key: string, value: T): Promise<void> {
    const json = JSON.stringify(value) as string | undefined
    if (json === undefined) throw invalidArgument(`MemoryBackend.set("${key}"): the value is not JSON`)
    this.#values.set(key, json)
  }

  async delete (key: string): Promise<boolean> {
    return this.#values.delete(key)
  }

  subscribe (key: string, handler: (key: string, value: unknown) => void): Unsubscribe {
    let handlers = this.#handlers.get(key)
    if (handlers === undefined) this.#handlers.set(key, handlers = new Set())
    // an identity of its own, so that one function can subscribe twice
    const own = (channel: string, value: unknown): void => handler(channel, value)
    handlers.add(own)
    return () => {
      if (handlers.delete(own) && handlers.size === 0 && this.#handlers.get(key) === handlers) this.#handlers.delete(key)
    }
  }

  async publish (key: string, value: unknown): Promise<void> {
    const handlers = this.#handlers.get(key)
    if (handlers === undefined) return
    // text cannot be shared by mistake; anything else is copied for each subscriber, as a wire would
    const json = typeof value === 'string' ? undefined : JSON.stringify(value)
    queueMicrotask(() => {
      for (const handler of handlers) handler(key, json === undefined ? value : JSON.parse(json))
    })
  }

  async commit (key: string, { base, commits, live = false, snapshot, reset }: CommitRequest): Promise<CommitResult> {
    const log = this.#logs.get(key) ?? emptyLog(this.#history)
    if (log.epoch !== base.epoch || log.version !== base.version) return { accepted: false, missed: recordOf(log, base) }
    this.#logs.set(key, log)
    if (reset !== undefined) {
      Object.assign(log, emptyLog(reset.epoch))
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
    const head = { epoch: log.epoch, version: log.version }
    this.#notify(key, { base, head, live: log.live, commits })
    return { accepted: true, ...head, logBytes: log.sizeSinceSnapshot }
  }

  async read (key: string, have?: Head): Promise<KeyRecord> {
    return recordOf(this.#logs.get(key) ?? emptyLog(this.#history), have)
  }

  async liveKeys (): Promise<string[]> {
    const keys = []
    for (const [key, log] of this.#logs) if (log.live) keys.push(key)
    return keys
  }

  /** A notice is shared by its receivers: they read it and keep only its strings. */
  #notify (key: string, notice: CommitNotice): void {
    const handlers = this.#handlers.get(key)
    if (handlers === undefined) return
    queueMicrotask(() => {
      for (const handler of handlers) handler(key, notice)
    })
  }
}

function emptyLog (epoch: string): Log {
  return { epoch, version: 0, live: false, snapshot: { version: 0, value: '' }, entries: [], size: 0, sizeSinceSnapshot: 0 }
}

/** @param becomesLive nothing is kept that is not needed */
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
  log.entries.splice(0, drop)
  log.sizeSinceSnapshot = 0
  for (const { patches } of log.entries.slice(log.entries.length - since)) log.sizeSinceSnapshot += patches.length
}

function recordOf (log: Log, have?: Head): KeyRecord {
  const { epoch, version, live, snapshot, entries } = log
  const head = { epoch, version, live }
  const start = version - entries.length
  if (have?.epoch === epoch && have.version >= start && have.version <= version) {
    return { ...head, commits: entries.slice(have.version - start) }
  }
  if (version === 0) return { ...head, commits: [] }
  return { ...head, snapshot: snapshot.version === 0 ? undefined : snapshot, commits: entries.slice(snapshot.version - start) }
}
