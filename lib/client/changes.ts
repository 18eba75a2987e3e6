import { record } from '../protocol/draft.js'
import { DatasoleError } from '../protocol/errors.js'
import { copyJson } from '../protocol/json.js'
import type { Operation } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'

/** Maximum nesting depth of a value. The server's limit may be lower. */
const MAX_DEPTH = 128

/** A change made by the application. It can be applied again to another value. */
export interface Change {
  /** Changes a draft, or returns a new value. */
  readonly recipe: (draft: unknown) => unknown
  /** Whether the change replaces the whole value. */
  readonly isWhole: boolean
  /** Length of its patch as JSON, in characters, to bound the queue. */
  size: number
  /** The tick in which the change was made. Changes of one tick are sent in one push. */
  readonly tick: number
}

export function wholeChange (value: unknown, tick: number): Change {
  const own = copyJson(value, MAX_DEPTH)
  return { recipe: () => own, isWhole: true, size: JSON.stringify(own).length, tick }
}

/** Bounds of the changes of one channel that wait for the server: their number, and the characters of their patches. */
const MAX_CHANGES = 1000
const MAX_SIZE = 4 * 1024 * 1024

/** Checks the bounds of the queue. @throws DatasoleError `BUSY` if it is full */
export function checkRoom (key: string, waiting: Change[], inFlight = 0): void {
  const size = waiting.reduce((sum, { size }) => sum + size, 0)
  if (waiting.length + inFlight > MAX_CHANGES || size > MAX_SIZE) throw new DatasoleError('BUSY', `too many changes of "${key}" already wait for the server`)
}

/** Characters of patches in a push. Beyond it, the next tick's changes go into another push. */
const MAX_JOINED = 256 * 1024

/**
 * Removes the changes of the next push from `waiting`: whole ticks, up to MAX_JOINED.
 * @param isApart whether to take only one tick
 * @returns the changes of the push
 */
export function takeChanges (waiting: Change[], isApart: boolean): Change[] {
  let size = 0
  const end = waiting.findIndex((change, i) => {
    const before = size
    size += change.size
    return i > 0 && change.tick !== waiting[i - 1]!.tick && (isApart || before > MAX_JOINED)
  })
  return waiting.splice(0, end === -1 ? waiting.length : end)
}

/** Applies a change. Returns its operations and the new value; the old value is not changed. */
export function make ({ recipe }: Change, value: unknown): { patches: Operation[], value: unknown } {
  const patches = record({ value }, recipe, MAX_DEPTH)
  return { patches, value: patches.length === 0 ? value : applyFrozen(value, patches) }
}

/**
 * Applies changes in order, and skips those that throw.
 * @param onLeftOut gets the error of each skipped change
 */
export function makeAll (changes: Change[], value: unknown, onLeftOut?: (cause: unknown) => void): { changes: Change[], patches: Operation[], value: unknown } {
  const kept: Change[] = []
  const patches: Operation[] = []
  for (const change of changes) {
    try {
      const made = make(change, value)
      for (const operation of made.patches) patches.push(operation)
      value = made.value
      kept.push(change)
    } catch (cause) {
      onLeftOut?.(cause) // without a callback, the error is reported when the change is sent
    }
  }
  return { changes: kept, patches, value }
}
