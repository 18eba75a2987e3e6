import { type Container, isContainer } from './json.js'

/** No limit on `maxJsonDepth` is higher. */
const DEEPEST = 1000

/** Containers inside each other, of each container that was seen deeply frozen; Infinity while its members are looked at. */
const heights = new WeakMap<object, number>()

/** Whether the value is plain JSON that nobody can change any more, at most `maxDepth` containers deep. */
export function isFrozenJson (value: unknown, maxDepth = DEEPEST): boolean {
  return heightOf(value, maxDepth) <= maxDepth
}

/** Infinity for all but deeply frozen JSON. Walks each frozen container once. */
function heightOf (value: unknown, room: number): number {
  if (!isContainer(value)) return isScalar(value) ? 0 : Infinity
  const known = heights.get(value)
  if (known !== undefined) return known
  if (room <= 0 || !Object.isFrozen(value) || !isPlain(value)) return Infinity
  heights.set(value, Infinity) // which a cycle comes back to
  let height = 1
  const keys = Array.isArray(value) ? value.keys() : Object.keys(value)
  for (const key of keys) {
    const member = Object.getOwnPropertyDescriptor(value, key)
    // JSON leaves undefined members out; an accessor has no value, but a getter
    if (member?.value === undefined && member?.get === undefined && member?.set === undefined && !Array.isArray(value)) continue
    height = Math.max(height, 1 + heightOf(member?.value, room - 1))
    if (height === Infinity) break
  }
  // something in it may be frozen later
  if (height === Infinity) heights.delete(value)
  else heights.set(value, height)
  return height
}

function isScalar (value: unknown): boolean {
  return value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
}

/** Whether JSON.stringify takes the own members as they are. */
function isPlain (value: Container): boolean {
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return Array.isArray(value) ? prototype === Array.prototype : prototype === Object.prototype || prototype === null
}

interface Known {
  /** Containers that could be inside each other there, when the children were compared. */
  room: number
  /** As long as the array. Undefined for a child of which nothing is known. */
  readonly children: unknown[] | Map<string | number, unknown>
}

/**
 * Deeply frozen values of callers, beside the children of a document's containers that were found equal to them.
 * If the same value is given again for that place, nobody has to look into it. The document forgets what it changes.
 */
export class FrozenSources {
  readonly #known = new WeakMap<Container, Known>()
  readonly #isLearning: () => boolean
  /** Whoever gives no frozen values pays for no look-up. */
  #isEmpty = true
  /** The container asked for last, as all of its children are asked for in turn. */
  #last: Container | undefined
  #ofLast: Known | undefined

  /** @param isLearning false while the document has edits that may be undone */
  constructor (isLearning: () => boolean) {
    this.#isLearning = isLearning
  }

  /**
   * Whether the child is known to equal `given`.
   * @param room containers that may be inside each other in `container`
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

  /** The child was found equal to `given`, which counts if it is deeply frozen. */
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

  /** Elements of the array were removed, and `count` inserted. */
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
