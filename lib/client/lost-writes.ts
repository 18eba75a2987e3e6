import { type CrdtOp, isLater, type Stamped } from '../crdt/crdt.js'
import { type CrdtState, crdtOf } from '../crdt/types.js'
import { getMember } from '../protocol/json.js'

/** An operation without nodeId and sequence number. */
export type Write = Pick<CrdtOp, 'op' | 'key' | 'value' | 'timestamp'>

/**
 * The operations that give a new private copy the value of the last one. A Yjs document needs none, because its
 * subscribers have the updates.
 * @param waiting queued operations, which the new copy will get anyway
 */
export function lostWrites (last: CrdtState, shown: unknown, copy: CrdtState, waiting: CrdtOp[]): Write[] {
  if (copy.type === 'pn-counter') {
    let lost = (shown as number) - (crdtOf(copy.type).value(copy) as number)
    for (const { op, value } of waiting) lost -= op === 'increment' ? value as number : -(value as number)
    return lost === 0 ? [] : [{ op: lost > 0 ? 'increment' : 'decrement', value: Math.abs(lost), timestamp: 0 }]
  }
  if (copy.type === 'lww-register') return writeOf((last as typeof copy).written, copy.written)
  if (copy.type === 'lww-map') return Object.entries((last as typeof copy).fields).flatMap(([key, stamped]) => writeOf(stamped, getMember(copy.fields, key) as Stamped | undefined, key))
  return []
}

/** The operation that repeats a write. Initial values have no writer and time 0, and are not repeated. */
function writeOf (written: Stamped | undefined, there: Stamped | undefined, key?: string): Write[] {
  if (written === undefined || written[0] === 0 || !isLater(written, there)) return []
  const [timestamp, , value] = written
  return [written.length === 2 ? { op: 'remove', key, timestamp } : { op: 'set', key, value, timestamp }]
}
