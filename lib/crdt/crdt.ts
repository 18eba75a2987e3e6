import type { CrdtType } from '../protocol/contract.js'

export type { CrdtType }

/** One operation, as it stands on the wire. */
export interface CrdtOp {
  type: CrdtType
  /** The replica that made it. */
  nodeId: string
  /** When, as Unix time in ms; a fraction counts within the millisecond. */
  timestamp: number
  /** `increment` and `decrement` of a counter, `set`, `remove` of a map's field, `update` of a Yjs document. */
  op: 'increment' | 'decrement' | 'set' | 'remove' | 'update'
  /** A map's field. */
  key?: string
  /** The new value, or the amount. */
  value?: unknown
  /** Counts up from 1 per key and nodeId; the same number twice is the same operation. Without one, each counts. */
  seq?: number
  /** Every number up to this one is settled: its operation will not be sent any more. */
  settled?: number
}

/** The outcome of an operation. */
export type Outcome =
  | 'changed'
  /** It was there already, or has lost against a later one. */
  | 'known'
  /** Too old: what would tell whether it was counted before, or has lost, has been forgotten. */
  | 'late'
  /** Its number is too far ahead of those that are there. */
  | 'early'
  /** The counter can hold no more. */
  | 'full'

/**
 * A replica's state is plain JSON, which these functions change in place, by as little as there is to
 * change: a draft that records patches will do. `apply` and `merge` are idempotent and commutative, so
 * that replicas which know the same operations are equal.
 */
export interface Crdt<State, Value> {
  readonly type: CrdtType
  empty (): State
  value (state: State): Value
  apply (state: State, op: CrdtOp): Outcome
  /** Takes in what another replica knows. Only for states of which neither has forgotten anything. */
  merge (state: State, other: State): void
  /** Drops what only late arrivals need: what is older than `before` (Unix ms), and the oldest beyond `max`. */
  forget (state: State, before: number, max: number): void
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

/**
 * What is oldest among entries, beyond a time or a number.
 * @param entries name and time of each
 */
export function oldest (entries: Array<[name: string, time: number]>, before: number, max: number): Array<[name: string, time: number]> {
  entries.sort(([, a], [, b]) => a - b)
  return entries.filter(([, time], i) => time < before || i < entries.length - max)
}
