import { messageOf } from '../../protocol/errors.js'
import type { ConnectionContext } from '../../server/context/connection-context.js'
import { tryClone } from '../cloneable.js'
import type { ConnectionCopy, ClonedMembers } from '../thread-messages.js'

/** The assignment of a connection to a thread: its slot, and the version of the thread's copy of the connection. */
export class Affinity<Slot> {
  /** The slot that runs the connection's tasks; undefined while the connection waits for a slot. */
  slot: Slot | undefined
  /** The connection's number in the thread; 0 if the thread has no copy. */
  ref = 0
  /** Number of tasks that have not ended. */
  size = 0
  /** Monotonic time in ms when a task was last added or ended. */
  usedAt = 0
  isGone = false
  #clonedRevision = -1
  #revision = 0
  #hasObjects = false

  constructor (readonly context: ConnectionContext) {}

  /** Whether the thread's copy is outdated. A copy with objects always is, because objects may change in place. */
  get isOutdated (): boolean {
    return this.#hasObjects || this.#clonedRevision !== this.context.revision
  }

  /**
   * Applies a change that the thread made to its copy. The copy stays up to date, unless a newer copy without the change
   * was sent meanwhile.
   */
  change (revision: number, apply: (context: ConnectionContext) => void): void {
    const { context } = this
    const wasNewest = revision === this.#revision && this.#clonedRevision === context.revision
    try {
      apply(context)
    } finally {
      if (wasNewest) this.#clonedRevision = context.revision
    }
  }

  /** Called when the thread, and so its copy, is lost. */
  forget (): void {
    this.slot = undefined
    this.ref = 0
    this.#clonedRevision = -1
  }

  copy (): ConnectionCopy {
    const { connectionId, auth: { metadata, ...auth }, remoteAddress, protocol, transport, tags, values } = this.context.state
    this.#clonedRevision = this.context.revision
    const kept = Object.fromEntries(values)
    this.#hasObjects = Object.values(kept).some((value) => typeof value === 'object' && value !== null)
    return {
      revision: ++this.#revision,
      connectionId,
      remoteAddress,
      protocol,
      transport,
      auth: clonedMembers(auth),
      // the application may have stored any value here
      metadata: typeof metadata === 'object' && metadata !== null ? clonedMembers(metadata) : undefined,
      values: clonedMembers(kept),
      tags: [...tags]
    }
  }
}

function clonedMembers (owner: object): ClonedMembers {
  const result: ClonedMembers = { present: [], missing: [] }
  for (const name of Object.keys(owner)) {
    const { copy, why } = cloneMember(owner, name)
    if (why === undefined) result.present.push([name, copy])
    else result.missing.push([name, why])
  }
  return result
}

/** Clones a member. Reading it may throw, because it may be a getter. */
function cloneMember (owner: object, name: string): ReturnType<typeof tryClone> {
  try {
    return tryClone((owner as Record<string, unknown>)[name])
  } catch (error) {
    return { why: messageOf(error) }
  }
}
