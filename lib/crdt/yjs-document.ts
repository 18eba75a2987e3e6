import type { Crdt } from './crdt.js'

/** The updates of a Yjs document, in base64. Their order and repeats do not matter. */
export interface YjsState { type: 'yjs', updates: string[] }

/** A Yjs document, stored as opaque updates. */
export const yjsDocument: Crdt<YjsState, string[]> = {
  type: 'yjs',

  empty: () => ({ type: 'yjs', updates: [] }),

  value: ({ updates }) => [...updates],

  apply ({ updates }, { value }) {
    if (updates.includes(value as string)) return 'known'
    updates.push(value as string)
    return 'changed'
  }
}
