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

/** Characters of patches through which a push is compared with what came after its base. */
const MAX_LOOKBACK = 256 * 1024

/** How a push ends. */
export interface PushOutcome {
  /** `head` has the push in it. */
  done (head: Head): void
  /** @param error a DatasoleError `CONFLICT`, a PatchError, a refusal, or what the backend failed with */
  failed (error: unknown): void
}

/**
 * A push to the value that all clients share. It is tried on the newest value; where another node
 * commits first, it is tried again on what that made. One that is in the value already changes nothing.
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
  /** Others have committed since the version that it names. */
  #isLate = false
  #isDone = false

  /** @param id by which it is remembered */
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
   * One that is equal is committed, too, to be remembered: sent again after others have replaced it, it must not
   * replace what they made.
   */
  #whole (document: Document): Operation[] {
    const { data } = this.#pushed
    const operations = diff(document.value, data, this.#check.maxDepth)
    return operations.length > 0 ? operations : [{ op: 'replace', path: '', value: data }]
  }

  check (document: Document): void {
    this.#check.run(document, this.#ctx)
  }

  /** The answer leaves before the patch that has the push in it. */
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
    this.#outcome.failed(this.#isLate && error instanceof PatchError ? conflict(`an operation does not apply any more: ${error.message}`) : error)
  }

  /** The version that this push made already, if it did. */
  #versionBefore (replica: Replica, before: readonly Prepared[]): number | undefined {
    let { version } = replica
    for (const { write: { push }, entry } of before) {
      if (entry === undefined) continue
      version++
      if (push?.client === this.push.client && push.seq >= this.push.seq) return version
    }
    return replica.pushes.versionOf(this.push)
  }

  /** @throws DatasoleError `CONFLICT` where others have touched what these operations touch */
  #compare (patches: Operation[], replica: Replica, before: readonly Prepared[], version: number): void {
    const { epoch, base } = this.#pushed
    if (epoch !== replica.epoch) throw conflict('the key has begun another epoch')
    if (base > version) throw conflict(`the newest version is ${version}`)
    this.#isLate = base < version
    if (!this.#isLate) return
    const touched = new TouchedPaths()
    if (base < replica.version) {
      const since = replica.patchesSince({ epoch, version: base })
      if (since === undefined || since.length > MAX_LOOKBACK) throw conflict(`what came after version ${base} is not held any more`)
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
