import { getMember, putMember } from '../protocol/json.js'
import type { Crdt } from './crdt.js'

/** How far a sequence number may be ahead of the last one before a gap. */
export const WINDOW = 1000

/**
 * The counts of a node: the time of its last operation, its sums up to operation `seq`, then the number and amount of
 * each operation received after a gap. The amount of a decrement is negative.
 */
export type Counts = [at: number, plus: number, minus: number, seq: number, ...ahead: number[]]

export interface CounterState {
  type: 'pn-counter'
  /** The sum over all nodes, dropped ones included. Equal amounts may be subtracted from `plus` and `minus`. */
  plus: number
  minus: number
  nodes: Record<string, Counts>
  /** Time of the newest operation of a dropped node. */
  floor: number
}

/** A counter that many nodes increment and decrement concurrently. Whole numbers are exact. */
export const pnCounter: Crdt<CounterState, number> = {
  type: 'pn-counter',

  empty: () => ({ type: 'pn-counter', plus: 0, minus: 0, nodes: {}, floor: -1 }),

  value: ({ plus, minus }) => plus - minus,

  apply (state, { nodeId, timestamp, op, value = 1, seq, settled = 0 }) {
    const before = getMember(state.nodes, nodeId) as Counts | undefined
    if (seq !== undefined) {
      if (before === undefined && timestamp <= state.floor) return 'late'
      if (before !== undefined && isCounted(before, seq)) return 'known'
      if (seq > Math.max(before?.[3] ?? 0, settled) + WINDOW) return 'early'
    }
    const sum = op === 'increment' ? 'plus' : 'minus'
    // near the maximum, subtract the same amount from both sums
    const both = state[sum] + (value as number) > Number.MAX_SAFE_INTEGER ? Math.min(state.plus, state.minus) : 0
    const total = state[sum] - both + (value as number)
    if (total > Number.MAX_SAFE_INTEGER) return 'full'
    const [at, ...counted] = before ?? [0, 0, 0, 0]
    const after: Counts = [Math.max(at, timestamp), ...counted as [number, number, number]]
    if (seq === undefined) after[op === 'increment' ? 1 : 2] += value as number
    else advance(after, seq, op === 'increment' ? value as number : -(value as number), settled)
    if (both > 0) {
      state.plus -= both
      state.minus -= both
    }
    state[sum] = total
    putMember(state.nodes, nodeId, after)
    return 'changed'
  }
}

/** The sums of a node's increments and decrements, including those after a gap. */
export function sums ([, plus, minus, , ...ahead]: Counts): [plus: number, minus: number] {
  for (let i = 1; i < ahead.length; i += 2) {
    if (ahead[i]! > 0) plus += ahead[i]!
    else minus -= ahead[i]!
  }
  return [plus, minus]
}

function isCounted ([, , , last, ...ahead]: Counts, seq: number): boolean {
  if (seq <= last) return true
  for (let i = 0; i < ahead.length; i += 2) if (ahead[i] === seq) return true
  return false
}

/**
 * Adds an operation, then moves the operations before the first gap into the sums.
 * @param settled missing operations up to this number are never repeated, so they are no gap
 */
function advance (counts: Counts, seq: number, amount: number, settled = 0): void {
  let i = 4
  while (i < counts.length && counts[i]! < seq) i += 2
  counts.splice(i, 0, seq, amount)
  let taken = 4
  while (taken < counts.length && (counts[taken]! <= settled || counts[taken] === Math.max(counts[3], settled) + 1)) {
    counts[3] = counts[taken]!
    const next = counts[taken + 1]!
    if (next > 0) counts[1] += next
    else counts[2] -= next
    taken += 2
  }
  counts.splice(4, taken - 4)
  counts[3] = Math.max(counts[3], settled)
}
