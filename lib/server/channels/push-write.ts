import { diff } from '../../protocol/diff.js'
import type { Document, PatchLimits } from '../../protocol/document.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { Head, Operation } from '../../protocol/messages.js'
import { PatchError } from '../../protocol/patch.js'
import type { MessageContext } from '../context/connection-context.js'
import type { Push } from './push.js'
import type { PushCheck } from './push-check.js'
import type { PushId } from '../store/push-ledger.js'
import type { Replica } from '../store/replica.js'
import { TouchedPaths } from './touched-paths.js'
import { type Prepared, type Write, versionOf } from '../store/write.js'

/** Most characters of later patches that a push is compared with. */
const MAX_LOOKBACK = 256 * 1024

/** Callbacks for the result of a push. */
export interface PushOutcome {
  /** The push has been applied. `head` is a version that contains it. */
  done (head: Head): void
  /** @param error a DatasoleError `CONFLICT`, a PatchError, a refusal, or the error of the backend */
  failed (error: unknown): void
}

/**
 * A push to a value that all clients share. It is applied to the newest value, and again if another node commits first.
 * A push that has been applied before changes nothing.
 */
export class PushWrite implements Write {
  readonly live = true
  readonly push: PushId
  readonly limits: PatchLimits
  readonly #pushed: Push
  readonly #check: PushCheck
  readonly #ctx: MessageContext
  readonly #outcome: PushOutcome
  #head: Head = { epoch: '', version: 0 }
  /** Whether there are commits after the push's base. */
  #isLate = false
  #isDone = false

  /** @param id identity of the push in the ledger */
  constructor (pushed: Push, id: PushId, check: PushCheck, ctx: MessageContext, outcome: PushOutcome) {
    this.#pushed = pushed
    this.push = id
    this.limits = check.limits(pushed.size)
    this.#check = check
    this.#ctx = ctx
    this.#outcome = outcome
  }

  make (document: Document, replica: Replica, before: readonly Prepared[]): Operation[] {
    const { epoch } = replica
    const version = versionOf(replica, before)
    const known = this.#versionBefore(replica, before)
    this.#isLate = false
    if (known !== undefined) {
      this.#head = { epoch, version: known }
      return []
    }
    const { patches, base } = this.#pushed
    const operations = patches ?? this.#whole(document)
    if (patches !== undefined) this.#compare(patches, replica, before, version)
    this.#head = { epoch, version: operations.length > 0 ? version + 1 : base }
    return operations
  }

  /**
   * The operations for a whole value. An equal value is committed, too, so that the ledger has the push. Otherwise a
   * repeated push could overwrite a newer value.
   */
  #whole (document: Document): Operation[] {
    const { data } = this.#pushed
    const operations = diff(document.value, data, this.#check.maxDepth)
    return operations.length > 0 ? operations : [{ op: 'replace', path: '', value: data }]
  }

  check (document: Document): void {
    this.#check.run(document, this.#ctx)
  }

  /** Answers the push, before its patch is sent to subscribers. */
  accepted (): void {
    if (this.#isDone) return
    this.#isDone = true
    this.#outcome.done(this.#head)
  }

  resolve (): void {
    this.accepted()
  }

  reject (error: unknown): void {
    this.#isDone = true
    this.#outcome.failed(this.#isLate && error instanceof PatchError ? conflict(`an operation no longer applies: ${error.message}`) : error)
  }

  /** The version that contains this push, if it was applied before. */
  #versionBefore (replica: Replica, before: readonly Prepared[]): number | undefined {
    let { version } = replica
    for (const { write: { push }, entry } of before) {
      if (entry === undefined) continue
      version++
      if (push?.client === this.push.client && push.seq >= this.push.seq) return version
    }
    return replica.pushes.versionOf(this.push)
  }

  /** @throws DatasoleError `CONFLICT` if a later commit touched the same places */
  #compare (patches: Operation[], replica: Replica, before: readonly Prepared[], version: number): void {
    const { epoch, base } = this.#pushed
    if (epoch !== replica.epoch) throw conflict('the epoch of the key has changed')
    if (base > version) throw conflict(`the newest version is ${version}`)
    this.#isLate = base < version
    if (!this.#isLate) return
    const touched = new TouchedPaths()
    if (base < replica.version) {
      const since = replica.patchesSince({ epoch, version: base })
      if (since === undefined || since.length > MAX_LOOKBACK) throw conflict(`the server no longer has the commits after version ${base}`)
      touched.add(JSON.parse(since) as Operation[])
    }
    for (const prepared of before.filter(({ entry }) => entry !== undefined).slice(Math.max(0, base - replica.version))) touched.add(prepared.patches)
    const place = touched.meets(patches)
    if (place !== undefined) throw conflict(`${JSON.stringify(place.slice(0, 100))} was changed after version ${base}`)
  }
}

function conflict (why: string): DatasoleError {
  return new DatasoleError('CONFLICT', why)
}
