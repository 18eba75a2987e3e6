import { entriesOf } from './lww-map.js'
import type { CrdtState } from './types.js'

/** Drops records that only late operations need: those before `before` (Unix ms), and the oldest beyond `max`. */
export function forgetOld (state: CrdtState, before: number, max: number): void {
  if (state.type === 'pn-counter') {
    dropOldest(state, state.nodes, Object.entries(state.nodes).map(([nodeId, [at]]) => [nodeId, at]), before, max)
  } else if (state.type === 'lww-map') {
    const removed = entriesOf(state.fields).filter(([, stamped]) => stamped.length === 2)
    dropOldest(state, state.fields, removed.map(([key, [at]]) => [key, at]), before, max)
  }
  // a register has only one write; merging the updates of a document needs Yjs: see crdt-yjs.ts
}

function dropOldest (state: { floor: number }, records: Record<string, unknown>, times: Array<[name: string, time: number]>, before: number, max: number): void {
  let { floor } = state
  for (const [name, time] of oldest(times, before, max)) {
    delete records[name]
    floor = Math.max(floor, time)
  }
  if (floor > state.floor) state.floor = floor
}

/**
 * Selects the entries before `before`, and the oldest ones beyond `max` entries.
 * @param entries pairs of name and time; sorted in place
 */
export function oldest (entries: Array<[name: string, time: number]>, before: number, max: number): Array<[name: string, time: number]> {
  entries.sort(([, a], [, b]) => a - b)
  return entries.filter(([, time], i) => time < before || i < entries.length - max)
}
