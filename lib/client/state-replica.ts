import { deepFreeze } from '../protocol/frozen.js'
import type { Head, StatePatch, StateSnapshot } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'

/** The outcome of a message for a replica. */
export type ApplyResult =
  /** The value is newer. */
  | 'changed'
  /** The message was known already. */
  | 'known'
  /** Versions are missing in between: subscribe again from the current head. */
  | 'gap'

/**
 * A client's replica of one key. Values share structure: an unchanged part stays the same object, and a value
 * never changes after it was delivered. Values are frozen here, as a Web Worker's messages lose the freezing.
 */
export class StateReplica {
  value: unknown
  /** Undefined until the first snapshot. */
  head: Readonly<Head> | undefined

  /** Applies a snapshot unless it is older, so that versions never go back. */
  snapshot ({ epoch, version, data }: StateSnapshot): ApplyResult {
    if (this.head?.epoch === epoch && version <= this.head.version) return 'known'
    this.value = deepFreeze(data) // throws if it is nested too deeply: then both stay
    this.head = Object.freeze({ epoch, version })
    return 'changed'
  }

  /** Applies a patch to the version that it was made from. */
  patch ({ epoch, from, version, patches }: StatePatch): ApplyResult {
    const { head } = this
    if (head === undefined || head.epoch !== epoch) return 'gap'
    if (version <= head.version) return 'known'
    if (from !== head.version) return 'gap'
    try {
      this.value = applyFrozen(this.value, patches)
    } catch {
      // the values differ: start again from a snapshot
      this.head = undefined
      return 'gap'
    }
    this.head = Object.freeze({ epoch, version })
    return 'changed'
  }
}
