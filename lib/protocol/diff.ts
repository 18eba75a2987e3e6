import { contentKey } from './array-align.js'
import { Comparison } from './comparison.js'
import type { FrozenSources } from './frozen-sources.js'
import { type Container, copyJson } from './json.js'
import { isShorter, jsonSize } from './json-size.js'
import type { Operation } from './messages.js'

/**
 * Computes the operations (add, remove, replace, move) that turn `from` into `to`; none if both are equal. Their
 * values are copies. A container is replaced if its operations would be longer than the container itself.
 *
 * @param from plain JSON such as a document's value, or undefined for no value
 * @param to any value that `copyJson` accepts, validated in the same way
 * @param maxDepth how many containers may be inside each other
 * @param sources frozen values that are known to equal parts of `from`; records the equal parts that this call finds
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`, as `copyJson`
 */
export function diff (from: unknown, to: unknown, maxDepth: number, sources?: FrozenSources): Operation[] {
  const comparison = new ContentComparison(maxDepth, sources)
  try {
    comparison.child(from, to, true)
  } catch (error) {
    copyJson(to, maxDepth) // if there are several faults, this throws for the first one
    throw error
  }
  return comparison.patches
}

/** Operations of up to this many bytes are never replaced by their container, because they say what changed. */
const SHORT = 4096

/** Compares values that share no objects, by their content. */
class ContentComparison extends Comparison {
  /** Approximate length of the patch as JSON text, up to and including each operation. */
  readonly #bytes: number[] = []
  /** The range of operations whose length was last compared with their container. */
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
    // compare again only once the length has doubled since an inner container was compared
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
