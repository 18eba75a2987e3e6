import { deepFreeze } from '../protocol/frozen.js'
import type { Head, StatePatch, StateSnapshot } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'

/** The outcome of a message for a replica. */
export type ApplyResult =
  /** It has a newer value. */
  | 'changed'
  /** It knew that already. */
  | 'known'
  /** Something is missing in between: ask with what is held. */
  | 'gap'

/**
 * A client's copy of one key. Values are shared structure: what has not changed is the same object
 * before and after, and a value that somebody keeps never changes. It is frozen, as listeners share it: here and
 * not where it is parsed, since freezing does not cross from a Web Worker.
 */
export class StateReplica {
  value: unknown
  /** Undefined until the first snapshot. */
  head: Readonly<Head> | undefined

  /** A snapshot is right wherever the replica stands, unless it is older: nobody sees a version go back. */
  snapshot ({ epoch, version, data }: StateSnapshot): ApplyResult {
    if (this.head?.epoch === epoch && version <= this.head.version) return 'known'
    this.head = Object.freeze({ epoch, version })
    this.value = deepFreeze(data)
    return 'changed'
  }

  /** A patch is right only on the version that it was made from. */
  patch ({ epoch, from, version, patches }: StatePatch): ApplyResult {
    const { head } = this
    if (head === undefined || head.epoch !== epoch) return 'gap'
    if (version <= head.version) return 'known'
    if (from !== head.version) return 'gap'
    try {
      this.value = applyFrozen(this.value, patches)
    } catch {
      // the two sides do not agree on the value: start over from a snapshot
      this.head = undefined
      return 'gap'
    }
    this.head = Object.freeze({ epoch, version })
    return 'changed'
  }
}
