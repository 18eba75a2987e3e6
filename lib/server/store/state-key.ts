import { randomUUID } from 'node:crypto'
import type { BackendUnsubscribe, CommitNotice, CommitRequest, CommitResult, Journal, KeyRecord, StateBackend } from '../../backend/backend.js'
import { DatasoleError } from '../../protocol/errors.js'
import { prepareAll, requestOf, takeBatch } from './batch.js'
import { Replica, valueOf } from './replica.js'
import type { Tracer } from '../metrics/tracer.js'
import type { Write, WriteRules } from './write.js'

/** The state that all keys of a node share. */
export interface StateHost {
  readonly backend: StateBackend
  readonly journal: Journal
  /** Put before a key's name in the backend, apart from whatever else is there. */
  readonly prefix: string
  /** ms that a key stays in the backend after a commit; undefined for ever. */
  readonly ttlMs: number | undefined
  /** The promise to wait for before the backend can be used. */
  ready (): Promise<void> | undefined
  /** See StoreOwner. */
  onCommit (replica: Replica, from: number): void
  onLiveChange (key: string, isLive: boolean, isOwn: boolean): void
  committed (count: number): void
  /** Undefined without a tracer. */
  readonly tracer: Tracer | undefined
  /** The time in ms if durations are measured, else 0. */
  begin (): number
  /** A batch of writes has waited in line. */
  waited (since: number): void
  /** The outcome of a commit; `accepted` is undefined if the journal did not answer in time. */
  answered (began: number, accepted: boolean | undefined): void
  /** Nothing is under way any more: the key may be forgotten. */
  idle (key: string): void
  rulesOf (key: string): WriteRules
  /** The key could not be read, and must be refreshed until it can. */
  fellBehind (key: string, error: unknown): void
}

/** Maximum of waiting writes of a key. */
const MAX_WAITING = 10_000

/** One key on this node: its replica, its queue of writes, and the commits of other nodes. */
export class StateKey {
  readonly replica: Replica
  /** While the first read is under way. */
  loading: Promise<Replica> | undefined
  readonly #host: StateHost
  readonly #storageKey: string
  #writes: Write[] = []
  #isWriting = false
  /** Arrival of the oldest waiting write; 0 if durations are not measured. */
  #waitsSince = 0
  /** The journal came back without commits that this replica has. */
  #isLost = false
  /** A commit of this node has failed, and may have taken effect: the next change may be its own. */
  #isUnsure = false
  /** While a commit is under way the replica does not change: the answer has the commits of others. */
  #committing: Promise<CommitResult> | undefined
  /** The newest notice that came meanwhile, or while the key was loading. */
  #noticed: CommitNotice | undefined
  #logBytes = 0
  #unsubscribe: BackendUnsubscribe | undefined

  constructor (key: string, host: StateHost) {
    this.#host = host
    this.#storageKey = host.prefix + key
    this.replica = new Replica(key)
    this.loading = this.#load()
  }

  /** Whether a write would have to wait for something. */
  get isBusy (): boolean { return this.#isWriting || this.loading !== undefined }

  write (write: Write): void {
    if (this.#writes.length >= MAX_WAITING) {
      return write.reject(new DatasoleError('BUSY', `${MAX_WAITING} writes of "${this.replica.key}" wait already; try again later`))
    }
    if (this.#host.tracer !== undefined) write.trace = this.#host.tracer.current()
    if (this.#writes.push(write) === 1) this.#waitsSince = this.#host.begin()
    if (!this.#isWriting) void this.#writeAll()
  }

  /** Reads the commits that this replica lacks, as of now or later. */
  async refresh (): Promise<void> {
    await this.loading
    await this.#committing?.catch(() => {}) // its writers get the error
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

  /** Reads again until the answer connects with the replica. */
  async #read (): Promise<void> {
    const { replica } = this
    for (;;) {
      const asked = replica.position
      const record = await this.#host.journal.read(this.#storageKey, asked.epoch === '' ? undefined : asked)
      // its answer will tell all that this one does
      if (this.#committing !== undefined) return
      // the answer may be older than a commit that arrived meanwhile, and of an epoch that is over
      if (replica.epoch !== asked.epoch) continue
      if (replica.isAheadOf(record)) {
        // writers in line find it out by themselves
        this.#isLost = true
        if (!this.#isWriting) void this.#writeAll()
        return
      }
      if (this.#adopt(record)) return
    }
  }

  /** Adopts the answer of the journal; false if it does not connect with the replica. */
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
   * The journal has lost commits that clients may have seen. The rest goes on in another epoch, in which all start
   * anew. One node makes the epoch, and the others follow.
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

  /** One batch after the other, for as long as someone waits. Never rejects: every write is settled. */
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
      if (batch.length > 0) this.#host.waited(this.#waitsSince)
      this.#waitsSince = this.#writes.length > 0 ? this.#host.begin() : 0
      try {
        await (batch.length > 0 ? this.#commit(batch) : this.#renew())
      } catch (error) {
        for (const write of batch) write.reject(error)
        // it may have been committed all the same
        this.#isUnsure = true
        this.#reread()
      }
      this.#takeNoticed()
    }
    this.#isWriting = false
    this.#host.idle(this.replica.key)
  }

  /** Repeats until the journal accepts them. If another node was first, they are computed again on its commits. */
  async #commit (batch: Write[]): Promise<void> {
    const { replica } = this
    for (;;) {
      const prepared = prepareAll(replica, batch, this.#host.rulesOf(replica.key))
      const request = requestOf(replica, prepared, this.#logBytes, this.#host.ttlMs)
      if (request !== undefined) {
        const result = await this.#send(request, batch)
        if (!result.accepted) {
          for (const { write, patches } of prepared) write.lost?.(replica.document, patches)
          await this.#catchUp(result.missed)
          batch = prepared.map(({ write }) => write)
          continue
        }
        this.#isUnsure = false
        this.#logBytes = result.logBytes
        for (const { write } of prepared) write.accepted?.()
        this.#accepted(request)
      }
      for (const { write, patches } of prepared) write.resolve(patches)
      return
    }
  }

  async #catchUp (missed: KeyRecord): Promise<void> {
    if (this.replica.isAheadOf(missed)) await this.#renew()
    else if (!this.#adopt(missed)) await this.#read()
  }

  /** @param writes the committed writes, to whose traces it belongs */
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

  #accepted ({ base, commits, live = false, reset }: CommitRequest): void {
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
    if (commits !== undefined && head.epoch === epoch && replica.live === live && replica.continues(base, commits)) {
      replica.advance(base.version, commits)
      return this.#host.onCommit(replica, version)
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
    this.#read().catch((error: unknown) => { this.#host.fellBehind(this.replica.key, error) })
  }
}
