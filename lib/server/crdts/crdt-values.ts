import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import { isContainer, isEqual, getMember, type Members } from '../../protocol/json.js'
import { invalidArgument } from '../../protocol/errors.js'

/** The part of an operation that changes the value. */
export type CrdtEdit = Pick<CrdtOp, 'op' | 'key' | 'value'>

/** The default type: a number becomes a counter, an object a map, and any other value a register. */
export function crdtTypeFor (initialValue: unknown): CrdtType {
  if (typeof initialValue === 'number') return 'pn-counter'
  return isContainer(initialValue) && !Array.isArray(initialValue) ? 'lww-map' : 'lww-register'
}

/** The value after an operation, computed from the state of this replica only. */
export function valueAfter (value: unknown, { type, op, key, value: given }: Pick<CrdtOp, 'type' | 'op' | 'key' | 'value'>): unknown {
  if (type === 'pn-counter') return Number(value ?? 0) + (op === 'decrement' ? -1 : 1) * Number(given)
  if (type !== 'lww-map') return given
  const { [key!]: _, ...others } = (value ?? {}) as Members
  return op === 'remove' ? others : { ...others, [key!]: given }
}

/**
 * The operations that turn one value into another.
 * @param from undefined if there is no value
 * @throws TypeError `INVALID_ARGUMENT` if the type has no such operations
 */
export function editsBetween (type: CrdtType, from: unknown, to: unknown): CrdtEdit[] {
  if (type === 'lww-register') return isEqual(from, to) ? [] : [{ op: 'set', value: to }]
  if (type === 'pn-counter') {
    if (typeof to !== 'number' || !Number.isFinite(to)) throw invalidArgument('the value of a pn-counter is a number')
    const difference = to - (typeof from === 'number' ? from : 0)
    return difference === 0 ? [] : [{ op: difference > 0 ? 'increment' : 'decrement', value: Math.abs(difference) }]
  }
  if (!isContainer(to) || Array.isArray(to)) throw invalidArgument('the value of an lww-map is an object')
  const before: Members = isContainer(from) && !Array.isArray(from) ? from : {}
  const edits: CrdtEdit[] = []
  for (const [key, value] of Object.entries(to)) if (!isEqual(getMember(before, key), value)) edits.push({ op: 'set', key, value })
  for (const key of Object.keys(before)) if (getMember(to, key) === undefined) edits.push({ op: 'remove', key })
  return edits
}
