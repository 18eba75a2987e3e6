import type { LogEntry } from '../../backend/backend.js'
import { diff } from '../../protocol/diff.js'
import type { Document, PatchLimits } from '../../protocol/document.js'
import { record } from '../../protocol/draft.js'
import { DatasoleError, coded } from '../../protocol/errors.js'
import { isFrozenJson } from '../../protocol/frozen-sources.js'
import { clonePlain, copyJson } from '../../protocol/json.js'
import type { Head, Operation } from '../../protocol/messages.js'
import { applyPatch } from '../../protocol/patch.js'
import { type PushId, commitId } from './push-ledger.js'
import type { TraceContext } from '../metrics/tracer.js'
import type { Replica } from './replica.js'

/** Changes a draft of the value in place, or returns a new value; it may run again, and must not be async. A key without a value gives it `undefined`. */
export type Recipe<T> = (draft: T | undefined) => T | void

/** A change that waits to be committed. It may have to be computed again, on a newer value. */
export interface Write {
  readonly live: boolean
  /** Deletes the key instead of changing its value. */
  readonly resets?: boolean
  /** Is committed although it changes nothing. */
  readonly touches?: boolean
  /** A client's push, which is remembered with the commit. */
  readonly push?: PushId
  /** Bounds for operations from outside. */
  readonly limits?: PatchLimits
  /** The place in a trace that it comes from, where somebody traces. */
  trace?: TraceContext
  /**
   * The operations that make the change; the document is left as it was. It stands at the replica's
   * version and has `before` in it, which go out in the same batch.
   */
  make (document: Document, replica: Replica, before: readonly Prepared[]): Operation[]
  /** Looks at the value that the operations made; what it throws refuses the write. */
  check? (document: Document): void
  /** The backend has it; told before anyone hears of the commit. */
  accepted? (): void
  /** Another node was first: `document` still is what `patches` were made on. */
  lost? (document: Document, patches: Operation[]): void
  resolve (patches: Operation[]): void
  reject (error: unknown): void
}

type Settle = Pick<Write, 'resolve' | 'reject'>

/**
 * The new value, whole. The caller's object is read only while the call that passed it is on the stack, unless it
 * is deeply frozen.
 */
export function setWrite (value: unknown, live: boolean, maxDepth: number, settle: Settle): Write & { capture (): void } {
  let isOwn = false
  const own = (copy: () => unknown): void => {
    if (!isOwn && !isFrozenJson(value, maxDepth)) value = copy()
    isOwn = true
  }
  return {
    ...settle,
    live,
    capture: () => { own(() => copyJson(value, maxDepth)) },
    make: (document) => diff(document.value, value, maxDepth, document.sources),
    lost: (document, patches) => { own(() => clonePlain(applyPatch(document.value, patches))) }
  }
}

export function updateWrite (recipe: (draft: unknown) => unknown, live: boolean, maxDepth: number, settle: Settle): Write {
  const { resolve, reject } = settle // a spread costs a microsecond
  return { live, make: (document) => record(document, recipe, maxDepth), resolve, reject }
}

/** Patches that were made elsewhere, on the version that `base` names. Where the key is not there any more, it rejects with `CONFLICT`. */
export function patchWrite (base: Head, patches: Operation[], live: boolean, settle: Settle): Write {
  return {
    ...settle,
    live,
    make: (_document, replica, before) => {
      checkBase(base, replica, before)
      return patches
    }
  }
}

/** @throws DatasoleError `CONFLICT` */
function checkBase ({ epoch, version }: Head, replica: Replica, before: readonly Prepared[]): void {
  if (replica.epoch !== epoch || versionOf(replica, before) !== version) throw new DatasoleError('CONFLICT', `"${replica.key}" was changed meanwhile`)
}

export function touchWrite (settle: Settle): Write {
  return { ...settle, live: false, touches: true, make: () => [] }
}

/**
 * @param base where the key has to stand, else it rejects with `CONFLICT`; undefined for anywhere
 * @param resolve told whether there was a value
 */
export function deleteWrite (base: Head | undefined, { resolve, reject }: { resolve: (existed: boolean) => void, reject: (error: unknown) => void }): Write {
  let existed = false
  return {
    live: false,
    resets: true,
    make: (document, replica, before) => {
      if (base !== undefined) checkBase(base, replica, before)
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

/** Looks at a value that a write has made, at the places that it changed (JSON Pointers). A throw refuses the write. */
export type ValueCheck = (value: unknown, changed: readonly string[]) => void

/** What every write of a key has to keep to. */
export interface WriteRules {
  /** Bytes of the value's JSON. */
  readonly maxBytes: number
  /** Whether later writes want to know which paths this one touched. */
  readonly keepsPaths: boolean
  readonly check: ValueCheck | undefined
}

/** The version of the key after `before`. */
export function versionOf ({ version }: Replica, before: readonly Prepared[]): number {
  return version + before.filter(({ entry }) => entry !== undefined).length
}

function placesOf (operation: Operation): string[] {
  return operation.op === 'move' ? [operation.path, operation.from] : [operation.path]
}

const WHOLE_OVERHEAD = '[{"op":"replace","path":"","value":}]'.length

/** Bytes up to which patches stay what they are where it counts which paths they touch. */
const MIN_PATHS = 4096

/**
 * Makes a write's change to the document, inside a transaction of the caller's. Where the patches are
 * bigger than the value, the value is sent instead.
 * @throws RangeError `LIMIT_EXCEEDED` where the value would be larger than `maxBytes`; whatever the write or a check throws
 */
export function prepare (replica: Replica, write: Write, before: readonly Prepared[], { maxBytes, keepsPaths, check }: WriteRules): Prepared {
  const { key, document } = replica
  const patches = write.make(document, replica, before)
  if (patches.length === 0) return { write, patches }
  // before they are applied: their values become part of the document
  const text = JSON.stringify(patches)
  document.apply(patches, write.limits)
  if (check !== undefined && document.value !== undefined) check(document.value, patches.flatMap(placesOf))
  write.check?.(document)
  if (document.size > maxBytes) {
    throw coded(new RangeError(`the value of "${key}" would have ${document.size} bytes of JSON, over maxStateBytes (${maxBytes})`), 'LIMIT_EXCEEDED')
  }
  const id = commitId(write.push)
  if (Buffer.byteLength(text) < Math.max(document.size + WHOLE_OVERHEAD, keepsPaths ? MIN_PATHS : 0)) return { write, patches, entry: { id, patches: text } }
  const whole = JSON.stringify(document.value)
  return {
    write,
    patches: [{ op: 'replace', path: '', value: JSON.parse(whole) }],
    entry: { id, patches: `[{"op":"replace","path":"","value":${whole}}]` },
    whole
  }
}
