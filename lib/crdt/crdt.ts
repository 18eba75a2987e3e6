import type { CrdtType } from '../protocol/contract.js'

export type { CrdtType }

/** A CRDT operation, in the form on the wire. */
export interface CrdtOp {
  /** The type of the key's CRDT. */
  type: CrdtType
  /** The replica that made the operation. */
  nodeId: string
  /** Unix time in ms. The fraction orders operations within a millisecond. */
  timestamp: number
  /** `increment` and `decrement` of a counter, `set`, `remove` of a map's field, `update` of a Yjs document. */
  op: 'increment' | 'decrement' | 'set' | 'remove' | 'update'
  /** The field of a map. */
  key?: string
  /** The new value, or the amount for a counter. */
  value?: unknown
  /** Sequence number from 1, per key and nodeId, which identifies repeats. An operation without it is never a repeat. */
  seq?: number
  /** The sender will not repeat any operation with a `seq` up to this number. */
  settled?: number
}

/** The outcome of an operation. */
export type Outcome =
  | 'changed'
  /** The operation is a repeat, or a later write has replaced it. */
  | 'known'
  /** The operation is too old: the records that would show whether it was already applied are dropped. */
  | 'late'
  /** The sequence number is too far ahead of the known ones. */
  | 'early'
  /** The counter would exceed its maximum. */
  | 'full'

/**
 * The functions of a CRDT type. The state is plain JSON. `apply` changes it in place and writes only what differs, so
 * the state may be a draft that records patches. `apply` is idempotent and commutative, so replicas converge.
 */
export interface Crdt<State, Value> {
  readonly type: CrdtType
  empty (): State
  value (state: State): Value
  apply (state: State, op: CrdtOp): Outcome
}

/** A write. The later timestamp wins, then the greater node id, then the greater JSON text of the value. */
export type Stamped = [timestamp: number, nodeId: string, value?: unknown]

export function isLater (a: Stamped, b: Stamped | undefined): boolean {
  if (b === undefined) return true
  if (a[0] !== b[0]) return a[0] > b[0]
  if (a[1] !== b[1]) return a[1] > b[1]
  return textOf(a) > textOf(b)
}

function textOf (stamped: Stamped): string {
  return stamped.length === 2 ? '' : JSON.stringify(stamped[2])
}
