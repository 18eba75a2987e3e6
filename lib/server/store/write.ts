import type { LogEntry } from '../../backend/backend.js'
import { diff } from '../../protocol/diff.js'
import type { Document, PatchLimits } from '../../protocol/document.js'
import { record } from '../../protocol/draft.js'
import { DatasoleError, coded } from '../../protocol/errors.js'
import { isFrozenJson } from '../../protocol/frozen-sources.js'
import { clonePlain, copyJson, isContainer } from '../../protocol/json.js'
import type { Head, Operation } from '../../protocol/messages.js'
import { applyPatch } from '../../protocol/patch.js'
import { type PushId, commitId } from './push-ledger.js'
import type { TraceContext } from '../metrics/tracer.js'
import type { Replica } from './replica.js'

/**
 * Changes a draft of the value in place, or returns a new value. It gets `undefined` if the key has no value. It may
 * run again, and must not be async.
 */
export type Recipe<T> = (draft: T | undefined) => T | void

/** A change that waits to be committed. After a conflict it is computed again, on a newer value. */
export interface Write {
  readonly live: boolean
  /** Deletes the key instead of changing its value. */
  readonly resets?: boolean
  /** Is committed even if it changes nothing. */
  readonly touches?: boolean
  /** A client's push, whose identity is stored with the commit. */
  readonly push?: PushId
  /** Bounds for operations of clients. */
  readonly limits?: PatchLimits
  /** The writer's position in a trace, if there is a tracer. */
  trace?: TraceContext
  /**
   * Returns the operations of the change, without applying them. The document has the replica's version, plus `before`:
   * the earlier writes of the same batch.
   */
  make (document: Document, replica: Replica, before: readonly Prepared[]): Operation[]
  /** Checks the value after the operations. A throw refuses the write. */
  check? (document: Document): void
  /** Called when the backend has accepted the write, before subscribers get the commit. */
  accepted? (): void
  /** Called after a conflict, while `document` still has the value on which `patches` were computed. */
  lost? (document: Document, patches: Operation[]): void
  resolve (patches: Operation[]): void
  reject (error: unknown): void
}

type Settle = Pick<Write, 'resolve' | 'reject'>

/**
 * Replaces the value. The write uses the caller's object only during the call, and a copy after that, unless the object
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

/** Commits patches that were computed elsewhere, on `base`. Rejects with `CONFLICT` if the key has changed since. */
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
 * @param base the expected position, else it rejects with `CONFLICT`; undefined for any
 * @param resolve gets whether there was a value
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

/** A write, computed on a certain version. Without `entry` it changes nothing. */
export interface Prepared {
  write: Write
  patches: Operation[]
  entry?: LogEntry
  /** The whole value afterwards, as JSON text, if the entry contains it anyway. */
  whole?: string
}

/** Checks the value after a write, at the changed places (JSON Pointers). A throw refuses the write. */
export type ValueCheck = (value: unknown, changed: readonly string[]) => void

/** Rules for every write of a key. */
export interface WriteRules {
  /** Most bytes of the value's JSON. */
  readonly maxBytes: number
  /** Whether later writes need the paths that this one touched. */
  readonly keepsPaths: boolean
  readonly check: ValueCheck | undefined
}

/** The version of the key after the writes `before`. */
export function versionOf ({ version }: Replica, before: readonly Prepared[]): number {
  return version + before.filter(({ entry }) => entry !== undefined).length
}

function placesOf (operation: Operation): string[] {
  return operation.op === 'move' ? [operation.path, operation.from] : [operation.path]
}

/** Characters of the longest string that V8 always copies. A longer one may be a slice that keeps all of another string. */
const MAX_COPIED = 12

/**
 * Whether the document can take the operation's value itself, and not a copy from its JSON text. Containers belong to
 * the caller, and the text of Infinity (`1e400` in a push) and of -0 has another value.
 */
function needsNoCopy (operation: Operation): boolean {
  if (!('value' in operation)) return true
  const { value } = operation
  if (typeof value === 'string') return value.length <= MAX_COPIED
  if (typeof value === 'number') return Number.isFinite(value) && !Object.is(value, -0)
  return !isContainer(value)
}

const WHOLE_OVERHEAD = '[{"op":"replace","path":"","value":}]'.length

/** Bytes up to which patches are stored as they are, if their paths are needed later. */
const MIN_PATHS = 4096

/**
 * Applies a write to the document, inside a transaction of the caller. If the patches are larger than the value, the
 * value is stored instead.
 * @throws RangeError `LIMIT_EXCEEDED` if the value would exceed `maxBytes`; whatever the write or a check throws
 */
export function prepare (replica: Replica, write: Write, before: readonly Prepared[], { maxBytes, keepsPaths, check }: WriteRules): Prepared {
  const { key, document } = replica
  const patches = write.make(document, replica, before)
  if (patches.length === 0) return { write, patches }
  const text = JSON.stringify(patches)
  document.apply(patches.every(needsNoCopy) ? patches : JSON.parse(text) as Operation[], write.limits)
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
