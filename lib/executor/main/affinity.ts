import { messageOf } from '../../protocol/errors.js'
import type { ConnectionContext } from '../../server/context/connection-context.js'
import { tryClone } from '../cloneable.js'
import type { ConnectionCopy, ClonedMembers } from '../thread-messages.js'

/** A connection that has tasks in threads, or had: where it stays, and what its thread knows of it. */
export class Affinity<Slot> {
  /** The slot of its tasks; undefined while it waits for a thread. */
  slot: Slot | undefined
  /** Its number in the thread; 0 where the thread does not know it. */
  ref = 0
  /** Tasks that have not ended. */
  size = 0
  /** Monotonic ms, when a task last came or ended. */
  usedAt = 0
  isGone = false
  #clonedRevision = -1
  #revision = 0
  #hasObjects = false

  constructor (readonly context: ConnectionContext) {}

  /** Whether the thread's copy is old. Objects may have been changed in place, so they are always sent anew. */
  get isOutdated (): boolean {
    return this.#hasObjects || this.#clonedRevision !== this.context.revision
  }

  /**
   * Applies what the thread did to its copy, which then still is the newest if it was. A newer one may have
   * been on its way there already: that lacks the change.
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

  /** The thread's copy was not of this life. */
  forget (): void {
    this.slot = undefined
    this.ref = 0
    this.#clonedRevision = -1
  }

  copy (): ConnectionCopy {
    const { connectionId, auth: { metadata, ...auth }, remoteAddress, protocol, tags, values } = this.context.state
    this.#clonedRevision = this.context.revision
    const kept = Object.fromEntries(values)
    this.#hasObjects = Object.values(kept).some((value) => typeof value === 'object' && value !== null)
    return {
      revision: ++this.#revision,
      connectionId,
      remoteAddress,
      protocol,
      auth: clonedMembers(auth),
      // it may be anything that a database gave
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

/** A member may be a getter that runs only now, and fails. */
function cloneMember (owner: object, name: string): ReturnType<typeof tryClone> {
  try {
    return tryClone((owner as Record<string, unknown>)[name])
  } catch (error) {
    return { why: messageOf(error) }
  }
}
