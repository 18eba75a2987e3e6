import { randomUUID } from 'node:crypto'
import type { CommitNotice, CommitRequest, CommitResult, Journal, KeyRecord, Snapshot, StateBackend, Unsubscribe } from '../backend/backend.js'
import { Replica } from './replica.js'
import { type Prepared, type Write, prepare } from './write.js'

/** What the keys of a node share. */
export interface StateHost {
  readonly backend: StateBackend
  readonly journal: Journal
  readonly maxStateBytes: number
  /** What has to be waited for before the backend can be used. */
  ready (): Promise<void> | undefined
  /** The replica has moved: `from` is the version before, or -1 where there is no way from it by patches. */
  moved (replica: Replica, from: number): void
  committed (count: number): void
  /** Nothing is under way any more: the key may be forgotten. */
  idle (key: string): void
  readFailed (key: string, error: unknown): void
}

/** Writes that go out together as consecutive versions, at the most. */
const MAX_BATCH = 64

/** A log this much longer than the value (bytes) is worth a new snapshot, even for tiny values. */
const MIN_LOG = 64 * 1024

/** One key on this node: its replica, its writers in line, and what other nodes commit. */
export class StateKey {
  readonly replica: Replica
  /** While the first read is under way. */
  loading: Promise<Replica> | undefined
  readonly #host: StateHost
  readonly #storageKey: string
  #writes: Write[] = []
  #isWriting = false
  /** While a commit is with the journal the replica stands still: its answer brings what others did. */
  #isCommitting = false
  /** The newest notice that came meanwhile. */
  #noticed: CommitNotice | undefined
  #logBytes = 0
  #unsubscribe: Unsubscribe | undefined

  constructor (key: string, host: StateHost) {
    this.#host = host
    this.#storageKey = storageKey(key)
    this.replica = new Replica(key)
    this.loading = this.#load()
  }

  /** Whether a write would have to wait for something. */
  get isBusy (): boolean { return this.#isWriting || this.loading !== undefined }

  write (write: Write): void {
    this.#writes.push(write)
    if (!this.#isWriting) void this.#writeAll()
  }

  /** Reads what this replica lacks. A commit that is under way does that by itself. */
  async refresh (): Promise<void> {
    if (this.loading === undefined && !this.#isCommitting) await this.#read()
  }

  close (): void {
    this.#unsubscribe?.()
  }

  async #load (): Promise<Replica> {
    try {
      await this.#host.ready()
      // before reading, so that nothing committed in between is missed
      this.#unsubscribe = this.#host.backend.subscribe(this.#storageKey, (_, notice) => { this.#notice(notice as CommitNotice) })
      await this.#unsubscribe.ready
      await this.#read()
      return this.replica
    } finally {
      this.loading = undefined
    }
  }

  async #read (): Promise<void> {
    const { replica } = this
    const { head } = replica
    await this.#adopt(await this.#host.journal.read(this.#storageKey, head.epoch === '' ? undefined : head))
  }

  /** Takes what the journal says, asking again for as long as that does not connect with what is here. */
  async #adopt (record: KeyRecord): Promise<void> {
    const { replica } = this
    const { epoch, version, live } = replica
    while (!this.#isCommitting && !replica.adopt(record)) record = await this.#host.journal.read(this.#storageKey, replica.head)
    if (epoch === '') return
    if (replica.epoch !== epoch || replica.live !== live) this.#host.moved(replica, -1)
    else if (replica.version !== version) this.#host.moved(replica, version)
  }

  /** One batch after the other, for as long as someone waits. Never rejects: every write is settled. */
  async #writeAll (): Promise<void> {
    this.#isWriting = true
    try {
      if (this.loading !== undefined) await this.loading
    } catch (error) {
      for (const { reject } of this.#writes) reject(error)
      return
    }
    while (this.#writes.length > 0) {
      const batch = takeBatch(this.#writes)
      try {
        await this.#commit(batch)
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#isWriting = false
    this.#host.idle(this.replica.key)
  }

  /** Until the journal takes them: where another node was first, they are computed again on what it did. */
  async #commit (batch: Write[]): Promise<void> {
    const { replica } = this
    for (;;) {
      const prepared = this.#prepare(batch)
      const request = this.#request(prepared)
      if (request !== undefined) {
        const result = await this.#send(request)
        if (!result.accepted) {
          for (const { write, patches } of prepared) write.lost?.(replica.document, patches)
          await this.#adopt(result.missed)
          batch = prepared.map(({ write }) => write)
          continue
        }
        this.#logBytes = result.logBytes
        this.#accepted(request)
      }
      for (const { write, patches } of prepared) write.resolve(patches)
      return
    }
  }

  /** Computes each write on top of those before it. One that fails is rejected, and is as if it had not been. */
  #prepare (batch: Write[]): Prepared[] {
    const { key, document } = this.replica
    const prepared = []
    const start = document.mark()
    for (const write of batch) {
      const before = document.mark()
      try {
        prepared.push(prepare(key, document, write, this.#host.maxStateBytes))
        document.release()
      } catch (error) {
        document.rollback(before)
        write.reject(error)
      }
    }
    document.rollback(start)
    return prepared
  }

  /** undefined where there is nothing to commit. */
  #request (prepared: Prepared[]): CommitRequest | undefined {
    const { replica } = this
    const base = replica.head
    if (prepared[0]?.write.resets) return { base, commits: [], reset: { epoch: randomUUID(), id: randomUUID() } }
    const commits = prepared.flatMap(({ entry }) => entry ?? [])
    const live = prepared.some(({ write }) => write.live)
    if (commits.length === 0 && (!live || replica.live || replica.version === 0)) return undefined
    return { base, commits, live, snapshot: this.#snapshot(prepared) }
  }

  /** A whole value that is written anyway, or a new one of the base where the log has outgrown the value. */
  #snapshot (prepared: Prepared[]): Snapshot | undefined {
    const { version, document } = this.replica
    const last = prepared.findLastIndex(({ whole }) => whole !== undefined)
    if (last >= 0) {
      const commits = prepared.slice(0, last + 1).filter(({ entry }) => entry !== undefined)
      return { version: version + commits.length, value: prepared[last]!.whole! }
    }
    if (version === 0 || this.#logBytes <= Math.max(MIN_LOG, document.size)) return undefined
    return { version, value: JSON.stringify(document.value) }
  }

  async #send (request: CommitRequest): Promise<CommitResult> {
    this.#isCommitting = true
    try {
      return await this.#host.journal.commit(this.#storageKey, request)
    } finally {
      this.#isCommitting = false
      const noticed = this.#noticed
      this.#noticed = undefined
      // once the answer has been taken in, see whether it told all
      if (noticed !== undefined) queueMicrotask(() => { this.#notice(noticed) })
    }
  }

  #accepted ({ base, commits, live = false, reset }: CommitRequest): void {
    const { replica } = this
    if (reset !== undefined) {
      replica.reset(reset.epoch)
      return this.#host.moved(replica, -1)
    }
    const becameLive = live && !replica.live
    replica.live ||= live
    replica.advance(base.version, commits)
    this.#host.committed(commits.length)
    this.#host.moved(replica, becameLive ? -1 : base.version)
  }

  /** Another node's commit, or our own, come back. */
  #notice (notice: CommitNotice): void {
    const { replica } = this
    const { base, head, live, commits } = notice
    if (this.loading !== undefined || (replica.covers(head) && replica.live === live)) return
    if (this.#isCommitting) {
      this.#noticed = notice
      return
    }
    const { epoch, version } = replica
    if (commits !== undefined && base.epoch === epoch && head.epoch === epoch && base.version <= version && replica.live === live) {
      replica.advance(base.version, commits)
      return this.#host.moved(replica, version)
    }
    this.#read().catch((error: unknown) => { this.#host.readFailed(replica.key, error) })
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

export function keyOf (storageKey: string): string {
  return storageKey.slice('state:'.length)
}
