import type { CommitRequest, KeyRecord, LogEntry, Position, Snapshot } from '../../backend/backend.js'
import { Document } from '../../protocol/document.js'
import type { Head, Operation } from '../../protocol/messages.js'
import { PushLedger, packSnapshot, unpackSnapshot } from './push-ledger.js'

/** Bounds of the history for clients that reconnect: bytes (or the size of the value if that is more), and commits. */
const MIN_HISTORY = 64 * 1024
const MAX_HISTORY = 1000

/** Most ended epochs that are remembered. */
const MAX_FORMER = 16

/**
 * This node's copy of a key: the committed value and the last commits. Commits edit the value in place, so it is never
 * returned to callers, and never shares an object with them.
 */
export class Replica implements Position {
  epoch = ''
  version = 0
  id = ''
  live = false
  #document = new Document()
  /** Commits that the journal has not answered yet. The document has them already, in a transaction since `mark`. */
  #pending: { mark: number, commits: LogEntry[], operations: Operation[] | undefined } | undefined
  /** The operations of this node's last commits, until they are published. */
  #latest: { from: number, operations: Operation[] | undefined } | undefined
  /** The last push of each client, by which a repeated push is recognized. */
  pushes = new PushLedger()
  /** Consecutive commits that end at `version`; empty while clients cannot see the key. */
  #history: LogEntry[] = []
  #historySize = 0
  readonly #former = new Set<string>()

  constructor (readonly key: string) {}

  /** The committed value. Undoes pending commits first, and `advance` then applies them again. */
  get document (): Document {
    if (this.#pending !== undefined) {
      this.#document.rollback(this.#pending.mark)
      this.#pending = undefined
    }
    return this.#document
  }

  /**
   * Announces commits that the document contains already and the journal is about to get. They stay in the document,
   * in an open transaction, until `advance` or the next read of the document.
   * @param mark where the transaction began
   * @param operations of all commits; undefined if they may change before they are published
   */
  expect (mark: number, commits: LogEntry[], operations: Operation[] | undefined): void {
    this.#pending = { mark, commits, operations }
  }

  get position (): Position { return { epoch: this.epoch, version: this.version, id: this.id } }

  /** Whether this replica has reached a position, or a later one. */
  covers ({ epoch, version, id }: Position): boolean {
    return epoch === this.epoch && (version < this.version || (version === this.version && id === this.id))
  }

  /** Whether a journal has lost commits that are here, or has gone back to an epoch that has ended. */
  isAheadOf ({ epoch, isLost = false }: KeyRecord): boolean {
    return isLost || this.#former.has(epoch)
  }

  /** Whether commits based on `base` can be applied here, some of which may be here already. */
  continues ({ epoch, version, id }: Position, commits: LogEntry[]): boolean {
    const held = this.version - version
    if (epoch !== this.epoch || held < 0 || held > commits.length) return false
    return this.id === (held === 0 ? id : commits[held - 1]!.id)
  }

  /** Applies accepted commits that follow version `from`. Skips those that are here already. */
  advance (from: number, commits: LogEntry[]): void {
    const pending = this.#pending
    const isApplied = pending?.commits === commits
    this.#latest = undefined
    if (isApplied) {
      this.#pending = undefined
      this.#document.release()
      this.#latest = { from, operations: pending.operations }
    }
    for (let i = this.version - from; i < commits.length; i++) {
      const commit = commits[i]!
      if (!isApplied) this.document.apply(JSON.parse(commit.patches) as Operation[])
      this.version++
      this.id = commit.id
      this.pushes.note(commit.id, this.version)
      if (!this.live) continue
      this.#history.push(commit)
      this.#historySize += commit.patches.length
    }
    const kept = Math.max(MIN_HISTORY, this.document.size)
    while (this.#history.length > MAX_HISTORY || (this.#historySize > kept && this.#history.length > 0)) {
      this.#historySize -= this.#history.shift()!.patches.length
    }
  }

  /**
   * Applies an answer of the journal, which must not be behind: see `isAheadOf`.
   * @returns false if the answer does not connect with this replica, and has to be read again
   */
  adopt (record: KeyRecord): boolean {
    const { epoch, version, id, live, snapshot, commits } = record
    // newer commits have arrived since the journal answered
    if (epoch === this.epoch && version < this.version) return true
    const from = version - commits.length
    const restarts = epoch !== this.epoch || (snapshot !== undefined && from > this.version)
    if (from > (restarts ? snapshot?.version ?? 0 : this.version)) return false
    if (restarts) this.#restart(epoch, snapshot)
    else if (live && !this.live) this.becomeLive()
    this.live = live
    this.advance(from, commits)
    this.id = id
    return true
  }

  /** Makes the key visible to clients, without its history before that. */
  becomeLive (): void {
    this.live = true
    this.#history = []
    this.#historySize = 0
  }

  /** Starts another epoch, without a value, or with the value that the journal still has. */
  reset ({ epoch, id, value }: NonNullable<CommitRequest['reset']>): void {
    this.#restart(epoch, value === undefined ? undefined : { version: 1, value })
    this.id = value === undefined ? '' : id
    if (value === undefined) this.live = false
  }

  /** The operations from a version to this one, as JSON text; undefined if the history does not reach back so far. */
  patchesSince ({ epoch, version }: Head): string | undefined {
    const missing = this.version - version
    if (epoch !== this.epoch || missing < 0 || missing > this.#history.length) return undefined
    if (missing === 1) return this.#history.at(-1)!.patches
    const texts = []
    for (const { patches } of this.#history.slice(this.#history.length - missing)) texts.push(patches.slice(1, -1))
    return `[${texts.join(',')}]`
  }

  /** The operations of this node's commits on version `from`, while they are published; else undefined. */
  operationsSince (from: number): Operation[] | undefined {
    return this.#latest?.from === from ? this.#latest.operations : undefined
  }

  /** Ends the use of the operations, because their writer gets them next and may change them. */
  published (): void {
    this.#latest = undefined
  }

  /** The last commits in the history, oldest first. */
  lastCommits (count: number): Array<{ version: number, patches: string }> {
    const first = Math.max(0, this.#history.length - count)
    return this.#history.slice(first).map(({ patches }, i) => ({ version: this.version - this.#history.length + first + i + 1, patches }))
  }

  #restart (epoch: string, snapshot: Snapshot | undefined): void {
    if (this.epoch !== epoch && this.epoch !== '') {
      this.#former.add(this.epoch)
      for (const oldest of this.#former) if (this.#former.size > MAX_FORMER) this.#former.delete(oldest)
    }
    this.epoch = epoch
    this.version = snapshot?.version ?? 0
    const { value, pushes } = contentOf(snapshot)
    this.#document = new Document(value)
    this.#pending = undefined
    this.pushes = pushes
    this.#history = []
    this.#historySize = 0
  }
}

/** The value of a record without gaps, as the text of a snapshot; undefined at version 0. */
export function valueOf ({ snapshot, commits, version }: KeyRecord): string | undefined {
  if (version === 0) return undefined
  const { value, pushes } = contentOf(snapshot)
  const document = new Document(value)
  for (const { patches } of commits) document.apply(JSON.parse(patches) as Operation[])
  return packSnapshot(JSON.stringify(document.value), pushes.after(version - commits.length, commits).at(1))
}

function contentOf (snapshot: Snapshot | undefined): { value?: unknown, pushes: PushLedger } {
  return snapshot === undefined ? { pushes: new PushLedger() } : unpackSnapshot(snapshot.value)
}
