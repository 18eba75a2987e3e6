import { type Container, isContainer } from './json.js'

/** The highest allowed `maxJsonDepth`. */
const DEEPEST = 1000

/** The nesting depth of each container that is known to be deeply frozen; Infinity while its members are walked. */
const heights = new WeakMap<object, number>()

/** Whether the value is deeply frozen plain JSON, at most `maxDepth` containers deep. */
export function isFrozenJson (value: unknown, maxDepth = DEEPEST): boolean {
  return heightOf(value, maxDepth) <= maxDepth
}

/** The nesting depth of deeply frozen JSON, Infinity for any other value. Walks each frozen container once. */
function heightOf (value: unknown, room: number): number {
  if (!isContainer(value)) return isScalar(value) ? 0 : Infinity
  const known = heights.get(value)
  if (known !== undefined) return known
  if (room <= 0 || !Object.isFrozen(value) || !isPlain(value)) return Infinity
  heights.set(value, Infinity) // ends the walk of a cycle
  let height = 1
  const keys = Array.isArray(value) ? value.keys() : Object.keys(value)
  for (const key of keys) {
    const member = Object.getOwnPropertyDescriptor(value, key)
    // JSON omits undefined members, so skip them; an accessor also has no value but is not skipped
    if (member?.value === undefined && member?.get === undefined && member?.set === undefined && !Array.isArray(value)) continue
    height = Math.max(height, 1 + heightOf(member?.value, room - 1))
    if (height === Infinity) break
  }
  // not frozen yet, but it may be later: do not remember Infinity
  if (height === Infinity) heights.delete(value)
  else heights.set(value, height)
  return height
}

function isScalar (value: unknown): boolean {
  return value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}

/** Whether JSON.stringify writes the own members unchanged. */
function isPlain (value: Container): boolean {
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return Array.isArray(value) ? prototype === Array.prototype : prototype === Object.prototype || prototype === null
}

interface Known {
  /** Nesting depth that was still allowed at this container when its children were compared. */
  room: number
  /** The frozen values by index or member; undefined for a child of which nothing is known. */
  readonly children: unknown[] | Map<string | number, unknown>
}

/**
 * Remembers which deeply frozen values of callers equal which children of a document's containers. If a caller gives
 * the same value for that place again, the comparison can skip it. The document forgets entries that it changes.
 */
export class FrozenSources {
  readonly #known = new WeakMap<Container, Known>()
  readonly #isLearning: () => boolean
  /** Avoids the look-up as long as no frozen value was given. */
  #isEmpty = true
  /** Caches the last container, because callers ask for all of its children in turn. */
  #last: Container | undefined
  #ofLast: Known | undefined

  /** @param isLearning false while the document has edits that may be undone */
  constructor (isLearning: () => boolean) {
    this.#isLearning = isLearning
  }

  /**
   * Whether the child is known to equal `given`.
   * @param room nesting depth that is still allowed at `container`
   */
  has (container: Container, key: string | number, given: object, room: number): boolean {
    if (this.#isEmpty) return false
    const known = this.#of(container)
    if (known === undefined || room < known.room) return false
    const { children } = known
    return (Array.isArray(children) ? children[key as number] : children.get(key)) === given
  }

  #of (container: Container): Known | undefined {
    if (this.#last !== container) {
      this.#ofLast = this.#known.get(container)
      this.#last = container
    }
    return this.#ofLast
  }

  /** Remembers that the child equals `given`, if `given` is deeply frozen. */
  note (container: Container, key: string | number, given: unknown, room: number): void {
    if (!isContainer(given) || !Object.isFrozen(given) || !this.#isLearning() || !isFrozenJson(given)) return
    let known = this.#of(container)
    if (known === undefined) {
      known = { room, children: Array.isArray(container) ? new Array<unknown>(container.length).fill(undefined) : new Map() }
      this.#known.set(container, known)
      this.#ofLast = known
      this.#isEmpty = false
    }
    known.room = Math.max(known.room, room)
    if (Array.isArray(known.children)) known.children[key as number] = given
    else known.children.set(key, given)
  }

  forget (container: Container, key: string | number): void {
    const children = this.#isEmpty ? undefined : this.#of(container)?.children
    if (Array.isArray(children)) children[Number(key)] = undefined
    else children?.delete(key)
  }

  /** Follows a splice of the array that inserted `count` elements. */
  splice (array: unknown[], start: number, deleteCount: number, count: number): void {
    if (this.#isEmpty) return
    const children = this.#of(array)?.children as unknown[] | undefined
    if (count === 0) {
      children?.splice(start, deleteCount)
    } else if (count === 1) {
      children?.splice(start, deleteCount, undefined)
    } else {
      this.#known.delete(array)
      this.#last = undefined
    }
  }
}
