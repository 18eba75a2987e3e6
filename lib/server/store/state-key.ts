import { randomUUID } from 'node:crypto'
import type { BackendUnsubscribe, CommitNotice, CommitRequest, CommitResult, KeyRecord } from '../../backend/backend.js'
import { DatasoleError } from '../../protocol/errors.js'
import { operationsOf, prepareAll, requestOf, takeBatch } from './batch.js'
import { Replica, valueOf } from './replica.js'
import type { StateHost } from './state-host.js'
import type { Prepared, Write } from './write.js'

/** Most writes of a key that wait. */
const MAX_WAITING = 10_000

/** Computed writes, and the request that commits them. */
interface Attempt { readonly prepared: Prepared[], readonly request: CommitRequest }

/** One key on this node: its replica, its queue of writes, and the notices of other nodes' commits. */
export class StateKey {
  readonly replica: Replica
  /** Pending during the first read. */
  loading: Promise<Replica> | undefined
  readonly #host: StateHost
  readonly #storageKey: string
  #writes: Write[] = []
  #isWriting = false
  /** When the oldest waiting write was queued; 0 if durations are not measured. */
  #waitsSince = 0
  /** The journal has lost commits that this replica has. */
  #isLost = false
  /** A failed commit of this node may have been accepted, so the next change may be its own. */
  #isUnsure = false
  /** Pending during a commit. The replica does not change meanwhile: the result contains the commits of other nodes. */
  #committing: Promise<CommitResult> | undefined
  /** The newest notice that arrived during a commit, or while the key was loading. */
  #noticed: CommitNotice | undefined
  #logBytes = 0
  #unsubscribe: BackendUnsubscribe | undefined

  constructor (key: string, host: StateHost) {
    this.#host = host
    this.#storageKey = host.prefix + key
    this.replica = new Replica(key)
    this.loading = this.#load()
  }

  /** Whether a new write has to wait. */
  get isBusy (): boolean { return this.#isWriting || this.loading !== undefined }

  write (write: Write): void {
    if (this.#writes.length >= MAX_WAITING) {
      return write.reject(new DatasoleError('BUSY', `${MAX_WAITING} writes of "${this.replica.key}" already wait; try again later`))
    }
    if (this.#host.tracer !== undefined) write.trace = this.#host.tracer.current()
    if (this.#writes.push(write) === 1) this.#waitsSince = this.#host.begin()
    if (!this.#isWriting) void this.#writeAll()
  }

  /** Reads the commits that this replica lacks at the time of the call. */
  async refresh (): Promise<void> {
    await this.loading
    await this.#committing?.catch(() => {}) // the writers get the error
    await this.#read()
  }

  close (): void {
    this.#unsubscribe?.()
  }

  async #load (): Promise<Replica> {
    try {
      await this.#host.ready()
      // subscribes before it reads, so that no commit in between is missed
      this.#unsubscribe = this.#host.backend.subscribe(this.#storageKey, (_, notice) => { this.#notice(notice as CommitNotice) })
      await this.#unsubscribe.ready
      await this.#read()
      return this.replica
    } finally {
      this.loading = undefined
      this.#takeNoticed()
    }
  }

  /** Reads until the answer connects with the replica. */
  async #read (): Promise<void> {
    const { replica } = this
    for (;;) {
      const asked = replica.position
      const record = await this.#host.journal.read(this.#storageKey, asked.epoch === '' ? undefined : asked)
      // the result of a commit will contain all that this answer does
      if (this.#committing !== undefined) return
      // the epoch has changed during the read, so the answer may be older
      if (replica.epoch !== asked.epoch) continue
      if (replica.isAheadOf(record)) {
        // a running `#writeAll` sees `#isLost` itself
        this.#isLost = true
        if (!this.#isWriting) void this.#writeAll()
        return
      }
      if (this.#adopt(record)) return
    }
  }

  /** Applies an answer of the journal. Returns false if it does not connect with the replica. */
  #adopt (record: KeyRecord): boolean {
    const { replica } = this
    const { epoch, version, live } = replica
    const connects = replica.adopt(record)
    if (epoch === '') return connects
    if (replica.live !== live) this.#host.onLiveChange(replica.key, replica.live, this.#isUnsure)
    if (replica.epoch !== epoch || replica.live !== live) this.#host.onCommit(replica, -1)
    else if (replica.version !== version) this.#host.onCommit(replica, version)
    return connects
  }

  /**
   * Recovers after the journal has lost commits that clients may have seen. The remaining value starts a new epoch, and
   * all clients resync. One node creates the epoch, and the others follow.
   */
  async #renew (): Promise<void> {
    const { replica } = this
    this.#isLost = false
    for (;;) {
      const record = await this.#host.journal.read(this.#storageKey, replica.position)
      if (!replica.isAheadOf(record)) {
        if (this.#adopt(record)) return
        continue
      }
      const { epoch, version, id, live } = record
      const reset = { epoch: randomUUID(), id: randomUUID(), value: valueOf(record) }
      const { accepted } = await this.#send({ base: { epoch, version, id }, commits: [], reset, ttlMs: this.#host.ttlMs })
      if (!accepted) continue
      const wasLive = replica.live
      replica.reset(reset)
      replica.live = live && reset.value !== undefined
      if (replica.live !== wasLive) this.#host.onLiveChange(replica.key, replica.live, true)
      return this.#host.onCommit(replica, -1)
    }
  }

  /** Commits batch after batch while writes wait. Never rejects: every write is settled. */
  async #writeAll (): Promise<void> {
    this.#isWriting = true
    try {
      if (this.loading !== undefined) await this.loading
    } catch (error) {
      for (const write of this.#writes) write.reject(error)
      return
    }
    while (this.#writes.length > 0 || this.#isLost) {
      const batch = takeBatch(this.#writes)
      this.#writes = batch === this.#writes ? [] : this.#writes.slice(batch.length)
      if (batch.length > 0) this.#host.waited(this.#waitsSince)
      this.#waitsSince = this.#writes.length > 0 ? this.#host.begin() : 0
      try {
        if (batch.length === 0) await this.#renew()
        let attempt = this.#prepare(batch)
        while (attempt !== undefined) {
          const result = await this.#send(attempt.request, batch)
          if (result.accepted) {
            this.#accepted(attempt, result.logBytes)
            break
          }
          attempt = await this.#retry(attempt, result.missed)
        }
      } catch (error) {
        for (const write of batch) write.reject(error)
        // the commit may have been accepted
        this.#isUnsure = true
        this.#reread()
      }
      this.#takeNoticed()
    }
    this.#isWriting = false
    this.#host.idle(this.replica.key)
  }

  /** Computes writes on the replica's value. Settles them and returns undefined if there is nothing to commit. */
  #prepare (batch: Write[]): Attempt | undefined {
    const { replica } = this
    const { document } = replica
    const rules = this.#host.rulesOf(replica.key)
    const mark = document.mark()
    const prepared = prepareAll(replica, batch, rules)
    const request = requestOf(replica, prepared, this.#logBytes, this.#host.ttlMs)
    if (request !== undefined) {
      replica.expect(mark, request.commits, operationsOf(prepared))
      return { prepared, request }
    }
    document.release()
    for (const { write, patches } of prepared) write.resolve(patches)
    return undefined
  }

  /** After a conflict the writes are computed again on the newer value. */
  async #retry ({ prepared }: Attempt, missed: KeyRecord): Promise<Attempt | undefined> {
    const { replica } = this
    for (const { write, patches } of prepared) write.lost?.(replica.document, patches)
    if (replica.isAheadOf(missed)) await this.#renew()
    else if (!this.#adopt(missed)) await this.#read()
    return this.#prepare(prepared.map(({ write }) => write))
  }

  /** @param writes the committed writes; the commit's span belongs to their traces */
  async #send (request: CommitRequest, writes: readonly Write[] = []): Promise<CommitResult> {
    const began = this.#host.begin()
    let result: CommitResult | undefined
    try {
      result = await (this.#committing = this.#traced(() => this.#host.journal.commit(this.#storageKey, request), writes))
      return result
    } finally {
      this.#committing = undefined
      this.#host.answered(began, result?.accepted)
    }
  }

  #traced<T> (commit: () => T, writes: readonly Write[]): T {
    const { tracer } = this.#host
    if (tracer === undefined) return commit()
    const [parent, ...links] = writes.flatMap(({ trace }) => trace ?? [])
    return tracer.run('commit', this.replica.key, commit, parent, links)
  }

  #accepted ({ prepared, request }: Attempt, logBytes: number): void {
    this.#isUnsure = false
    this.#logBytes = logBytes
    for (const { write } of prepared) write.accepted?.()
    this.#advance(request)
    for (const { write, patches } of prepared) write.resolve(patches)
  }

  #advance ({ base, commits, live = false, reset }: CommitRequest): void {
    const { replica } = this
    if (reset !== undefined) {
      const wasLive = replica.live
      replica.reset(reset)
      if (wasLive) this.#host.onLiveChange(replica.key, false, true)
      return this.#host.onCommit(replica, -1)
    }
    const becameLive = live && !replica.live
    replica.advance(base.version, commits)
    if (becameLive) replica.becomeLive()
    this.#host.committed(commits.length)
    if (becameLive) this.#host.onLiveChange(replica.key, true, true)
    this.#host.onCommit(replica, becameLive ? -1 : base.version)
    replica.published()
  }

  /** Handles the notice of a commit, of another node or of this one. */
  #notice (notice: CommitNotice): void {
    const { replica } = this
    const { base, head, live, commits } = notice
    if (this.loading !== undefined || this.#committing !== undefined) {
      this.#noticed = notice
      return
    }
    if (replica.covers(head) && replica.live === live) return
    const { epoch, version } = replica
    if (commits !== undefined && head.epoch === epoch && replica.live === live && replica.continues(base, commits)) {
      replica.advance(base.version, commits)
      return this.#host.onCommit(replica, version)
    }
    this.#reread()
  }

  /** Handles the notice that arrived meanwhile. */
  #takeNoticed (): void {
    const noticed = this.#noticed
    this.#noticed = undefined
    if (noticed !== undefined) this.#notice(noticed)
  }

  #reread (): void {
    this.#read().catch((error: unknown) => { this.#host.fellBehind(this.replica.key, error) })
  }
}
