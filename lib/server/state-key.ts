import { randomUUID } from 'node:crypto'
import type { CommitNotice, CommitRequest, CommitResult, Journal, KeyRecord, Snapshot, StateBackend, Unsubscribe } from '../backend/backend.js'
import type { Head } from '../protocol/messages.js'
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
  #committing: Promise<CommitResult> | undefined
  /** The newest notice that came meanwhile, or while the key was loading. */
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

  /** Reads what this replica lacks, as of now or later. */
  async refresh (): Promise<void> {
    await this.loading
    await this.#committing?.catch(() => {}) // its writers are told
    await this.#read()
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
      this.#takeNoticed()
    }
  }

  /** Asks for as long as the answer does not connect with what is here by then. */
  async #read (): Promise<void> {
    const { replica } = this
    for (;;) {
      const { head } = replica
      const record = await this.#host.journal.read(this.#storageKey, head.epoch === '' ? undefined : head)
      if (this.#committing !== undefined) return
      // the answer may be older than what came meanwhile: of an epoch that is over, then
      if (replica.epoch === head.epoch && this.#adopt(record, head)) return
    }
  }

  /** Takes what the journal answered to a head; false where that does not connect with what is here. */
  #adopt (record: KeyRecord, asked: Head): boolean {
    const { replica } = this
    const { epoch, version, live } = replica
    const connects = replica.adopt(record, asked)
    if (epoch === '') return connects
    if (replica.epoch !== epoch || replica.live !== live || replica.version < version) this.#host.moved(replica, -1)
    else if (replica.version !== version) this.#host.moved(replica, version)
    return connects
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
        // it may have been committed all the same
        this.#reread()
      }
      this.#takeNoticed()
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
          if (!this.#adopt(result.missed, request.base)) await this.#read()
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
    // what a key was before clients could see it is not theirs: the journal gets a value to forget it for
    const last = prepared.at(-1)
    if (last !== undefined && this.#becomesLive(prepared)) last.whole ??= JSON.stringify(document.value)
    document.rollback(start)
    return prepared
  }

  #becomesLive (prepared: Prepared[]): boolean {
    const { live, document } = this.replica
    return !live && document.value !== undefined && prepared.some(({ write }) => write.live)
  }

  /** undefined where there is nothing to commit. */
  #request (prepared: Prepared[]): CommitRequest | undefined {
    const { replica } = this
    const base = replica.head
    if (prepared[0]?.write.resets) return replica.version === 0 ? undefined : { base, commits: [], reset: { epoch: randomUUID(), id: randomUUID() } }
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
    try {
      return await (this.#committing = this.#host.journal.commit(this.#storageKey, request))
    } finally {
      this.#committing = undefined
    }
  }

  #accepted ({ base, commits, live = false, reset }: CommitRequest): void {
    const { replica } = this
    if (reset !== undefined) {
      replica.reset(reset.epoch)
      return this.#host.moved(replica, -1)
    }
    const becameLive = live && !replica.live
    replica.advance(base.version, commits)
    if (becameLive) replica.becomeLive()
    this.#host.committed(commits.length)
    this.#host.moved(replica, becameLive ? -1 : base.version)
  }

  /** Another node's commit, or our own, come back. */
  #notice (notice: CommitNotice): void {
    const { replica } = this
    const { base, head, live, commits } = notice
    if (this.loading !== undefined || this.#committing !== undefined) {
      this.#noticed = notice
      return
    }
    if (replica.covers(head) && replica.live === live) return
    const { epoch, version } = replica
    if (commits !== undefined && base.epoch === epoch && head.epoch === epoch && base.version <= version && replica.live === live) {
      replica.advance(base.version, commits)
      return this.#host.moved(replica, version)
    }
    this.#reread()
  }

  /** Once the answer that was waited for has been taken in: see whether it told all. */
  #takeNoticed (): void {
    const noticed = this.#noticed
    this.#noticed = undefined
    if (noticed !== undefined) this.#notice(noticed)
  }

  #reread (): void {
    this.#read().catch((error: unknown) => { this.#host.readFailed(this.replica.key, error) })
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
