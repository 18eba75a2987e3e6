import type { ChannelMode, Head, Operation, StatePush } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'
import type { Change } from './changes.js'

/** Maximum number of operations in one push: the server's limit. */
const MAX_OPERATIONS = 10_000

/** A push that was sent but not answered. It is repeated unchanged until the server answers. */
export class InFlightPush {
  readonly changes: Change[]
  /** The operations of all changes, on the value that the push is based on. `value` is their result. */
  readonly patches: Operation[]
  readonly value: unknown
  readonly json: string
  /** Correlation id on this connection, or 0. */
  id = 0

  constructor ({ key, mode, base, push, changes, patches, value }: { key: string, mode: ChannelMode, base: Head, push: StatePush['push'] } & Pick<InFlightPush, 'changes' | 'patches' | 'value'>) {
    this.changes = changes
    this.patches = mode === 'snapshot' || patches.length > MAX_OPERATIONS ? [{ op: 'replace', path: '', value }] : patches
    this.value = value
    const message: StatePush = mode === 'snapshot'
      ? { key, data: value, push }
      : { key, epoch: base.epoch, base: base.version, patches: this.patches, push }
    this.json = JSON.stringify(message)
  }

  /** Applies the push. @returns undefined if it does not apply */
  appliedTo (value: unknown): unknown {
    try {
      return applyFrozen(value, this.patches)
    } catch {
      return undefined // the server's next patch corrects the value
    }
  }
}
