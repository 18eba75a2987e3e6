import { copyJson, clonePlain } from '../protocol/json.js'
import { diff } from '../protocol/diff.js'
import type { Document } from '../protocol/document.js'
import { record } from '../protocol/draft.js'
import type { Operation } from '../protocol/messages.js'
import { applyPatch } from '../protocol/patch.js'

/** A change that waits to be committed. It may have to be computed again, on a newer value. */
export interface Write {
  readonly live: boolean
  /** Deletes the key instead of changing its value. */
  readonly resets?: boolean
  /** The operations that make the change; the document is left as it was. */
  make (document: Document): Operation[]
  /** Another node was first: `document` still is what `patches` were made on. */
  lost? (document: Document, patches: Operation[]): void
  resolve (patches: Operation[]): void
  reject (error: unknown): void
}

type Settle = Pick<Write, 'resolve' | 'reject'>

/** The new value, whole. The caller's object is read only while the call that passed it is on the stack. */
export function setWrite (value: unknown, live: boolean, maxDepth: number, settle: Settle): Write & { capture (): void } {
  return {
    ...settle,
    live,
    capture: () => { value = copyJson(value, maxDepth) },
    make: (document) => diff(document.value, value, maxDepth),
    lost: (document, patches) => { value = clonePlain(applyPatch(document.value, patches)) }
  }
}

export function updateWrite (recipe: (draft: unknown) => unknown, live: boolean, maxDepth: number, settle: Settle): Write {
  return { ...settle, live, make: (document) => record(document, recipe, maxDepth) }
}

export function deleteWrite (settle: Settle): Write {
  return { ...settle, live: false, resets: true, make: () => [] }
}
