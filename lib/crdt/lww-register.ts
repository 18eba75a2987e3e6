import { type Crdt, type Stamped, isLater } from './crdt.js'

export interface RegisterState { type: 'lww-register', written?: Stamped }

/** One value; the last write wins. */
export const lwwRegister: Crdt<RegisterState, unknown> = {
  type: 'lww-register',

  empty: () => ({ type: 'lww-register' }),

  value: ({ written }) => written?.[2],

  apply (state, { timestamp, nodeId, value }) {
    const written: Stamped = [timestamp, nodeId, value]
    if (!isLater(written, state.written)) return 'known'
    state.written = written
    return 'changed'
  }
}
