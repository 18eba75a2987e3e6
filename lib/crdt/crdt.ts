import type { CrdtType } from '../protocol/contract.js'

export type { CrdtType }

/** One operation, as on the wire. */
export interface CrdtOp {
  /** The type of the key's CRDT. */
  type: CrdtType
  /** The replica that made it. */
  nodeId: string
  /** Unix time in ms. The fraction counts within the millisecond. */
  timestamp: number
  /** `increment` and `decrement` of a counter, `set`, `remove` of a map's field, `update` of a Yjs document. */
  op: 'increment' | 'decrement' | 'set' | 'remove' | 'update'
  /** Field of a map. */
  key?: string
  /** The new value, or the amount. */
  value?: unknown
  /** Counts up from 1 per key and nodeId. A repeated number is the same operation. Operations without one all count. */
  seq?: number
  /** No operation with a number up to this one will be sent again. */
  settled?: number
}

/** The outcome of an operation. */
export type Outcome =
  | 'changed'
  /** A repetition, or older than a later write. */
  | 'known'
  /** Too old to decide: the records that show whether it was counted, or lost, are dropped. */
  | 'late'
  /** The number is too far ahead of the known ones. */
  | 'early'
  /** The counter can hold no more. */
  | 'full'

/**
 * The functions of a CRDT type. State is plain JSON, changed in place and only where it differs, so it may be a
 * draft that records patches. `apply` is idempotent and commutative: replicas with the same operations are equal.
 */
export interface Crdt<State, Value> {
  readonly type: CrdtType
  empty (): State
  value (state: State): Value
  apply (state: State, op: CrdtOp): Outcome
}

/** The order of writes: the later timestamp wins, between equal ones the greater node, and between equal nodes any fixed order. */
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
