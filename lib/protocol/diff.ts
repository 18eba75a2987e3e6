import { contentKey } from './array-align.js'
import { Comparison } from './comparison.js'
import type { FrozenSources } from './frozen-sources.js'
import { type Container, copyJson } from './json.js'
import { isShorter, jsonSize } from './json-size.js'
import type { Operation } from './messages.js'

/**
 * The operations (add, remove, replace, move) that take `from` to `to`; none if both are equal. Their values are
 * copies. A container whose operations would be longer than itself is replaced.
 *
 * @param from plain JSON such as a document's value, or undefined for no value
 * @param to anything that `copyJson` takes, validated in the same way
 * @param maxDepth how many containers may be inside each other
 * @param sources the frozen values that `from` is known to be made of; learns what else is equal
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`, as `copyJson`
 */
export function diff (from: unknown, to: unknown, maxDepth: number, sources?: FrozenSources): Operation[] {
  const comparison = new ContentComparison(maxDepth, sources)
  try {
    comparison.child(from, to, true)
  } catch (error) {
    copyJson(to, maxDepth) // throws for the first of several faults
    throw error
  }
  return comparison.patches
}

/** Bytes of operations in a container up to which it is not replaced, as they tell more than it does. */
const SHORT = 4096

/** Of values that have no object in common. */
class ContentComparison extends Comparison {
  /** About how long the patches are as text, each with those before it. */
  readonly #bytes: number[] = []
  /** The operations that were last found to be no longer than their container. */
  #weighed = { from: -1, end: 0 }
  readonly #sources: FrozenSources | undefined

  constructor (maxDepth: number, sources: FrozenSources | undefined) {
    super(maxDepth)
    this.#sources = sources
  }

  override isKnown (container: Container, key: string | number, given: object): boolean {
    return this.#sources !== undefined && this.#sources.has(container, key, given, this.walk.room)
  }

  override note (container: Container, key: string | number, given: unknown): void {
    this.#sources?.note(container, key, given, this.walk.room)
  }

  override keyOf (element: unknown): unknown {
    return this.isSpent ? super.keyOf(element) : contentKey(element)
  }

  protected override push (operation: Operation): void {
    const before = this.#bytesUpTo(this.patches.length)
    const value = 'value' in operation ? jsonSize(operation.value) : 0
    super.push(operation)
    this.#bytes[this.patches.length - 1] = before + '{"op":"replace","path":""},'.length + operation.path.length + value
  }

  protected override isTooLong (before: number, container: Container): boolean {
    const end = this.patches.length
    const bytes = this.#bytesUpTo(end) - this.#bytesUpTo(before)
    // what was weighed further inside is weighed again once it has doubled
    const weighed = this.#weighed.from < before ? 0 : this.#bytesUpTo(this.#weighed.end) - this.#bytesUpTo(this.#weighed.from)
    if (bytes - weighed <= Math.max(SHORT, weighed)) return false
    const isTooLong = isShorter(container, bytes)
    this.#weighed = { from: before, end: isTooLong ? before + 1 : end }
    return isTooLong
  }

  #bytesUpTo (count: number): number {
    return count === 0 ? 0 : this.#bytes[Math.min(count, this.patches.length) - 1] ?? 0
  }
}
