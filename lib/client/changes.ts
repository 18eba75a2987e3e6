import { record } from '../protocol/draft.js'
import { DatasoleError } from '../protocol/errors.js'
import { copyJson } from '../protocol/json.js'
import type { Operation } from '../protocol/messages.js'
import { applyFrozen } from '../protocol/patch.js'

/** Nesting levels of a value. The server's limit may be lower. */
const MAX_DEPTH = 128

/** A change made by the application. It can be made again on another value. */
export interface Change {
  /** Changes a draft, or returns a new value. */
  readonly recipe: (draft: unknown) => unknown
  /** Whether it replaces the value, whatever that was before. */
  readonly isWhole: boolean
  /** Characters of its patch when it was made. The sum is bounded. */
  size: number
  /** Changes of one tick stay together. */
  readonly tick: number
}

export function wholeChange (value: unknown, tick: number): Change {
  const own = copyJson(value, MAX_DEPTH)
  return { recipe: () => own, isWhole: true, size: JSON.stringify(own).length, tick }
}

/** Most changes of one channel that may wait for the server, and most characters of their patches. */
const MAX_CHANGES = 1000
const MAX_SIZE = 4 * 1024 * 1024

/** @throws DatasoleError `BUSY` if too many changes wait */
export function checkRoom (key: string, waiting: Change[], inFlight = 0): void {
  const size = waiting.reduce((sum, { size }) => sum + size, 0)
  if (waiting.length + inFlight > MAX_CHANGES || size > MAX_SIZE) throw new DatasoleError('BUSY', `too many changes of "${key}" wait for the server already`)
}

/** Characters of patches in one push before the next tick's changes go into another push. */
const MAX_JOINED = 256 * 1024

/**
 * Removes the changes of the next push from `waiting`: whole ticks, up to a size.
 * @param isApart take one tick only
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

/** The operations of a change, and the value that they make. The old value stays as it is. */
export function make ({ recipe }: Change, value: unknown): { patches: Operation[], value: unknown } {
  const patches = record({ value }, recipe, MAX_DEPTH)
  return { patches, value: patches.length === 0 ? value : applyFrozen(value, patches) }
}

/**
 * Makes changes one after the other, and leaves out those that throw.
 * @param onLeftOut gets the error of each change that is left out
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
      onLeftOut?.(cause) // without a callback the error is reported when the change is sent
    }
  }
  return { changes: kept, patches, value }
}
