import { randomUUID } from 'node:crypto'
import { Document } from '../../protocol/document.js'
import type { Operation } from '../../protocol/messages.js'
import type { CommitNotice, CommitRequest, CommitResult, Journal, KeyRecord, Position, StateBackend } from '../../backend/backend.js'

interface Stored extends Position {
  live: boolean
  value?: unknown
  /** Unix ms; absent if it does not expire. */
  expiresAt?: number
}

/** The key of the list of live keys. */
const LIVE_KEYS = 'live-keys'

/** Most deleted keys that are remembered. */
export const MAX_DELETED = 1000

/**
 * A journal for a backend that has only the five basic methods. Each commit stores the whole value. It is right for one
 * node. With several nodes the version check is not atomic, so the last writer wins. It has no log, so a client that is
 * behind gets a snapshot.
 */
export class SnapshotJournal implements Journal {
  readonly #backend: StateBackend
  /** The epoch of keys without a stored value. It changes when deleted keys are forgotten, so that no epoch returns. */
  #history = randomUUID()
  /** The epochs of deleted keys, in memory only. */
  readonly #deleted = new Map<string, string>()
  /** The last operation per key, so that the commits of one key run one after the other. */
  readonly #tails = new Map<string, Promise<unknown>>()

  constructor (backend: StateBackend) {
    this.#backend = backend
  }

  commit (key: string, request: CommitRequest): Promise<CommitResult> {
    return this.#inTurn(key, () => this.#commit(key, request))
  }

  async #commit (key: string, { base, commits, live = false, reset, ttlMs }: CommitRequest): Promise<CommitResult> {
    const stored = await this.#stored(key)
    if (stored.epoch !== base.epoch || stored.version !== base.version || stored.id !== base.id) return { accepted: false, missed: recordOf(stored, base) }
    const next: Stored = reset !== undefined
      ? afterReset(stored, reset)
      : { epoch: base.epoch, version: base.version + commits.length, id: commits.at(-1)?.id ?? base.id, live: live || stored.live, value: applied(stored.value, commits) }
    if (reset !== undefined && reset.value === undefined) {
      await this.#backend.delete(key)
      this.#remember(key, next.epoch)
    } else {
      if (ttlMs !== undefined) next.expiresAt = Date.now() + ttlMs
      await this.#backend.set(key, next)
      this.#deleted.delete(key)
      if (ttlMs !== undefined) await this.#backend.expire?.(key, ttlMs)
    }
    if (next.live !== stored.live) await this.#inTurn(LIVE_KEYS, () => this.#list(key, next.live))
    const { epoch, version, id } = next
    await this.#backend.publish(key, { base, head: { epoch, version, id }, live: next.live } satisfies CommitNotice)
    return { accepted: true, epoch, version, logBytes: 0 }
  }

  async read (key: string, have?: Position): Promise<KeyRecord> {
    return recordOf(await this.#stored(key), have)
  }

  async liveKeys (prefix = ''): Promise<string[]> {
    const keys = await this.#backend.get<string[]>(LIVE_KEYS) ?? []
    return keys.filter((key) => key.startsWith(prefix))
  }

  async #stored (key: string): Promise<Stored> {
    const stored = await this.#backend.get<Stored>(key)
    // a backend without `expire` keeps the value, which must not be visible any more
    if (stored !== undefined && Date.now() < (stored.expiresAt ?? Infinity)) return stored
    return { epoch: this.#deleted.get(key) ?? this.#history, version: 0, id: '', live: false }
  }

  #remember (key: string, epoch: string): void {
    this.#deleted.set(key, epoch)
    if (this.#deleted.size <= MAX_DELETED) return
    this.#deleted.clear()
    this.#history = randomUUID()
  }

  async #list (key: string, isLive: boolean): Promise<void> {
    const keys = new Set(await this.liveKeys())
    if (isLive) keys.add(key)
    else keys.delete(key)
    await this.#backend.set(LIVE_KEYS, [...keys])
  }

  #inTurn<T> (key: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(work)
    const tail = turn.then(() => {}, () => {}).then(() => { // the caller gets the error
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    })
    this.#tails.set(key, tail)
    return turn
  }
}

function applied (value: unknown, commits: CommitRequest['commits']): unknown {
  const document = new Document(value)
  for (const { patches } of commits) document.apply(JSON.parse(patches) as Operation[])
  return document.value
}

function afterReset ({ live }: Stored, { epoch, id, value }: NonNullable<CommitRequest['reset']>): Stored {
  return value === undefined ? { epoch, version: 0, id: '', live: false } : { epoch, version: 1, id, live, value: JSON.parse(value) }
}

function recordOf ({ epoch, version, id, live, value }: Stored, have?: Position): KeyRecord {
  const isLost = have?.epoch === epoch && (have.version > version || (have.version === version && have.id !== id))
  return { epoch, version, id, live, ...version > 0 && { snapshot: { version, value: JSON.stringify(value) } }, commits: [], ...isLost && { isLost } }
}
