import type * as Yjs from 'yjs'
import type { YjsState } from '../../crdt/yjs-document.js'

/** Updates of a document that are kept as they came, before they are joined to one. */
const MAX_UPDATES = 100

/**
 * Structs that are made a document of here. The work may grow by their square, where somebody means it to:
 * what has more is only decoded, and joined with what was deleted in it.
 */
const MAX_STRUCTS = 20_000

let yjs: typeof Yjs | undefined

/** Loads the package, which is an optional peer; undefined where it is there already. Rejects where it is not installed. */
export function loadYjs (): Promise<void> | undefined {
  return yjs === undefined ? import('yjs').then((loaded) => { yjs = loaded }) : undefined
}

/** Whether this is an update, in base64. Yjs has to be loaded. */
export function isUpdate (base64: string): boolean {
  try {
    // applying makes room for as many structs as a few bytes say there are: decoding finds that they are not there
    if (yjs!.decodeUpdate(Buffer.from(base64, 'base64')).structs.length > MAX_STRUCTS) return true
  } catch {
    return false // that it is no update is the answer
  }
  return isApplied(new yjs!.Doc(), base64)
}

/** Joins the updates of a document, or a draft of one, where they have become many; what was deleted goes, where it is not too much. */
export function join (state: YjsState): void {
  if (yjs === undefined || state.updates.length < MAX_UPDATES) return
  const joined = yjs.mergeUpdates(state.updates.map((update) => Buffer.from(update, 'base64')))
  if (yjs.decodeUpdate(joined).structs.length > MAX_STRUCTS) {
    state.updates = [Buffer.from(joined).toString('base64')]
    return
  }
  const doc = new yjs.Doc()
  // one that does not apply beside the others must not stop those to come
  for (const update of state.updates) isApplied(doc, update)
  state.updates = [Buffer.from(yjs.encodeStateAsUpdate(doc)).toString('base64')]
  doc.destroy()
}

function isApplied (doc: Yjs.Doc, base64: string): boolean {
  try {
    yjs!.applyUpdate(doc, Buffer.from(base64, 'base64'))
    return true
  } catch {
    return false // that it is no update is the answer
  }
}
