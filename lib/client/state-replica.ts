import { deepFreeze } from '../protocol/frozen.js'
import type { Head, StatePatch, StateSnapshot } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'

/** The outcome of applying a message to a replica. */
export type ApplyResult =
  /** The value is newer. */
  | 'changed'
  /** The message was known already. */
  | 'known'
  /** Versions in between are missing: subscribe again from the current head. */
  | 'gap'

/**
 * A client's replica of one key. Values share structure: an unchanged part stays the same object. A value never changes
 * after it was delivered. Values are frozen here, because objects in a Web Worker's messages are not frozen.
 */
export class StateReplica {
  value: unknown
  /** Undefined until the first snapshot. */
  head: Readonly<Head> | undefined

  /** Applies a snapshot unless it is older, so that versions never go back. */
  snapshot ({ epoch, version, data }: StateSnapshot): ApplyResult {
    if (this.head?.epoch === epoch && version <= this.head.version) return 'known'
    this.value = deepFreeze(data) // may throw for deep nesting; value and head then stay as they are
    this.head = Object.freeze({ epoch, version })
    return 'changed'
  }

  /** Applies a patch if the replica is at the version that the patch starts from. */
  patch ({ epoch, from, version, patches }: StatePatch): ApplyResult {
    const { head } = this
    if (head === undefined || head.epoch !== epoch) return 'gap'
    if (version <= head.version) return 'known'
    if (from !== head.version) return 'gap'
    try {
      this.value = applyFrozen(this.value, patches)
    } catch {
      // the local value differs from the server's: start again from a snapshot
      this.head = undefined
      return 'gap'
    }
    this.head = Object.freeze({ epoch, version })
    return 'changed'
  }
}
