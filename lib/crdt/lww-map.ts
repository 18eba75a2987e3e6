import { getMember, type Members, putMember } from '../protocol/json.js'
import { type Crdt, type Stamped, isLater, oldest } from './crdt.js'

export interface MapState {
  type: 'lww-map'
  /** Each field's last write; without a value it is removed. */
  fields: Record<string, Stamped>
  /** The newest removal that was forgotten: what is not later, of a field that is not there, has lost against it. */
  floor: number
}

/** Fields with values; the last write of each field wins, removals included. */
export const lwwMap: Crdt<MapState, Members> = {
  type: 'lww-map',

  empty: () => ({ type: 'lww-map', fields: {}, floor: -1 }),

  value ({ fields }) {
    const value: Members = {}
    for (const [key, stamped] of entriesOf(fields)) if (stamped.length === 3) putMember(value, key, stamped[2])
    return value
  },

  apply (state, { timestamp, nodeId, op, key, value }) {
    const written: Stamped = op === 'set' ? [timestamp, nodeId, value] : [timestamp, nodeId]
    const before = getMember(state.fields, key!) as Stamped | undefined
    // who has written it must hear that it is lost, as no removal will come that would say so
    if (before === undefined && timestamp <= state.floor) return op === 'set' ? 'late' : 'known'
    if (!isLater(written, before)) return 'known'
    putMember(state.fields, key!, written)
    return 'changed'
  },

  merge (state, { fields }) {
    for (const [key, written] of entriesOf(fields)) {
      if (isLater(written, getMember(state.fields, key) as Stamped | undefined)) putMember(state.fields, key, written)
    }
  },

  forget (state, before, max) {
    const removed: Array<[string, number]> = []
    for (const [key, stamped] of entriesOf(state.fields)) if (stamped.length === 2) removed.push([key, stamped[0]])
    let { floor } = state
    for (const [key, time] of oldest(removed, before, max)) {
      delete state.fields[key]
      floor = Math.max(floor, time)
    }
    if (floor > state.floor) state.floor = floor
  }
}

/** Members that are undefined are on their way out of a draft. */
function entriesOf (fields: MapState['fields']): Array<[key: string, stamped: Stamped]> {
  return Object.entries(fields).filter(([, stamped]) => (stamped as Stamped | undefined) !== undefined)
}
