import { randomUUID } from 'node:crypto'
import type { LogEntry } from '../backend/backend.js'
import { diff } from '../protocol/diff.js'
import type { Document } from '../protocol/document.js'
import { record } from '../protocol/draft.js'
import { DatasoleError, coded } from '../protocol/errors.js'
import { clonePlain, copyJson } from '../protocol/json.js'
import type { Operation } from '../protocol/messages.js'
import { applyPatch } from '../protocol/patch.js'

/** A change that waits to be committed. It may have to be computed again, on a newer value. */
export interface Write {
  readonly live: boolean
  /** Deletes the key instead of changing its value. */
  readonly resets?: boolean
  /** Is for a certain version only: nothing may come before it in its batch. */
  readonly isBased?: boolean
  /** Is committed although it changes nothing. */
  readonly touches?: boolean
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
  let isOwn = false
  const own = (copy: unknown): void => { value = copy; isOwn = true }
  return {
    ...settle,
    live,
    capture: () => { own(copyJson(value, maxDepth)) },
    make: (document) => diff(document.value, value, maxDepth),
    lost: (document, patches) => { if (!isOwn) own(clonePlain(applyPatch(document.value, patches))) }
  }
}

export function updateWrite (recipe: (draft: unknown) => unknown, live: boolean, maxDepth: number, settle: Settle): Write {
  return { ...settle, live, make: (document) => record(document, recipe, maxDepth) }
}

/**
 * Patches that were made elsewhere.
 * @param isBase whether the key still is where they were made; where not, the write rejects with `CONFLICT`
 */
export function patchWrite (key: string, patches: Operation[], live: boolean, isBase: () => boolean, settle: Settle): Write {
  return {
    ...settle,
    live,
    isBased: true,
    make: () => {
      if (!isBase()) throw new DatasoleError('CONFLICT', `"${key}" was changed meanwhile`)
      return patches
    }
  }
}

export function touchWrite (settle: Settle): Write {
  return { ...settle, live: false, touches: true, make: () => [] }
}

/** @param resolve told whether there was a value */
export function deleteWrite ({ resolve, reject }: { resolve (existed: boolean): void, reject (error: unknown): void }): Write {
  let existed = false
  return {
    live: false,
    resets: true,
    make: (document) => {
      existed = document.value !== undefined
      return []
    },
    resolve: () => { resolve(existed) },
    reject
  }
}

/** A write, computed for a certain base. Without `entry` it changes nothing. */
export interface Prepared {
  write: Write
  patches: Operation[]
  entry?: LogEntry
  /** The whole value afterwards, as JSON text, where it is written anyway. */
  whole?: string
}

const WHOLE_OVERHEAD = '[{"op":"replace","path":"","value":}]'.length

/**
 * Makes a write's change to the document, inside a transaction of the caller's. Where the patches are
 * bigger than the value, the value is sent instead.
 * @throws RangeError `LIMIT_EXCEEDED` where the value would be larger than `maxBytes`; whatever the write throws
 */
export function prepare (key: string, document: Document, write: Write, maxBytes: number): Prepared {
  const patches = write.make(document)
  if (patches.length === 0) return { write, patches }
  // before they are applied: their values become part of the document
  const text = JSON.stringify(patches)
  document.apply(patches)
  if (document.size > maxBytes) {
    throw coded(new RangeError(`the value of "${key}" would have ${document.size} bytes of JSON, over maxStateBytes (${maxBytes})`), 'LIMIT_EXCEEDED')
  }
  if (Buffer.byteLength(text) < document.size + WHOLE_OVERHEAD) return { write, patches, entry: { id: randomUUID(), patches: text } }
  const whole = JSON.stringify(document.value)
  return {
    write,
    patches: [{ op: 'replace', path: '', value: JSON.parse(whole) }],
    entry: { id: randomUUID(), patches: `[{"op":"replace","path":"","value":${whole}}]` },
    whole
  }
}
