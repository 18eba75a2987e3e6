import type * as Yjs from 'yjs'
import type { YjsState } from '../../crdt/yjs-document.js'

/** Number of stored updates of a document at which they are merged into one. */
const MAX_UPDATES = 100

/**
 * Most structs of a document that is built here. A hostile update can make that work grow with their square, so larger
 * ones are only decoded and merged, and keep their deleted content.
 */
const MAX_STRUCTS = 20_000

let yjs: typeof Yjs | undefined

/** Loads the optional peer yjs; undefined if it is loaded already. Rejects if it is not installed. */
export function loadYjs (): Promise<void> | undefined {
  return yjs === undefined ? import('yjs').then((loaded) => { yjs = loaded }) : undefined
}

/** Whether the text is an update, in base64. Yjs must be loaded. */
export function isUpdate (base64: string): boolean {
  try {
    // decode first: `applyUpdate` allocates memory for as many structs as a short header claims
    if (yjs!.decodeUpdate(Buffer.from(base64, 'base64')).structs.length > MAX_STRUCTS) return true
  } catch {
    return false // it is not an update
  }
  return isApplied(new yjs!.Doc(), base64)
}

/** Merges the updates of a document (or draft) if there are many. Drops deleted content unless it is too large. */
export function join (state: YjsState): void {
  if (yjs === undefined || state.updates.length < MAX_UPDATES) return
  const joined = yjs.mergeUpdates(state.updates.map((update) => Buffer.from(update, 'base64')))
  if (yjs.decodeUpdate(joined).structs.length > MAX_STRUCTS) {
    state.updates = [Buffer.from(joined).toString('base64')]
    return
  }
  const doc = new yjs.Doc()
  // skips an update that does not apply, so that later ones still do
  for (const update of state.updates) isApplied(doc, update)
  state.updates = [Buffer.from(yjs.encodeStateAsUpdate(doc)).toString('base64')]
  doc.destroy()
}

function isApplied (doc: Yjs.Doc, base64: string): boolean {
  try {
    yjs!.applyUpdate(doc, Buffer.from(base64, 'base64'))
    return true
  } catch {
    return false // it is not an update
  }
}
