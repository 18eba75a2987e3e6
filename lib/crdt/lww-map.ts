import { getMember, type Members, putMember } from '../protocol/json.js'
import { type Crdt, type Stamped, isLater } from './crdt.js'

export interface MapState {
  type: 'lww-map'
  /** The last write of each field. A write without a value is a removal. */
  fields: Record<string, Stamped>
  /** Time of the newest removal that was dropped. A write to an unknown field must be later. */
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
    // report the write as late: no removal will be sent that would undo it at the writer
    if (before === undefined && timestamp <= state.floor) return op === 'set' ? 'late' : 'known'
    if (!isLater(written, before)) return 'known'
    putMember(state.fields, key!, written)
    return 'changed'
  }
}

/** The fields. It skips undefined members, which are removed but still in a draft. */
export function entriesOf (fields: MapState['fields']): Array<[key: string, stamped: Stamped]> {
  return Object.entries(fields).filter(([, stamped]) => (stamped as Stamped | undefined) !== undefined)
}
