import { isContainer, type Members } from './json.js'
import { idOf } from './record-id.js'

/** The part of two arrays that differs. The elements before `start`, and those after both ends, are equal. */
export interface Section {
  start: number
  fromEnd: number
  toEnd: number
}

/** Maximum number of elements to skip on either side to find the next common one, and of elements with one key to try. */
const LOOK_AHEAD = 8

/** Finds the elements of an old array in a new one, within a section of both. Indices count from the section's start. */
export class Alignment {
  /** For each element of the new section, the index of its old one; -1 if it is new. */
  readonly origins: Int32Array
  /** 1 for each element of the old section that is in the new one. */
  readonly isTaken: Uint8Array
  readonly #start: number
  readonly #isSame: (origin: number, index: number) => boolean
  #taken = 0

  /** @param isSame whether two elements are the same, by their indices in the whole old and the whole new array */
  constructor ({ start, fromEnd, toEnd }: Section, isSame: (origin: number, index: number) => boolean) {
    this.origins = new Int32Array(toEnd - start).fill(-1)
    this.isTaken = new Uint8Array(fromEnd - start)
    this.#start = start
    this.#isSame = isSame
  }

  get isComplete (): boolean { return this.#taken === Math.min(this.origins.length, this.isTaken.length) }

  #take (old: number, index: number): boolean {
    if (old >= this.isTaken.length || index >= this.origins.length || !this.#isSame(this.#start + old, this.#start + index)) return false
    this.origins[index] = old
    this.isTaken[old] = 1
    this.#taken++
    return true
  }

  /** Finds inserted and removed elements, in one walk along both arrays. */
  walk (): void {
    for (let old = 0, i = 0; old < this.isTaken.length && i < this.origins.length; old++, i++) {
      if (this.#take(old, i)) continue
      if (this.#take(old + 1, i + 1)) { // one element was edited or replaced
        old++
        i++
        continue
      }
      for (let ahead = 1; ahead <= LOOK_AHEAD; ahead++) {
        if (this.#take(old + ahead, i)) old += ahead
        else if (this.#take(old, i + ahead)) i += ahead
        else continue
        break
      }
    }
  }

  /**
   * Finds moved elements at any distance.
   * @param keyOf returns the same key for elements that are the same
   */
  lookUp (from: unknown[], to: unknown[], keyOf: (element: unknown) => unknown): void {
    const first = new Map<unknown, number>()
    const next = new Int32Array(this.isTaken.length)
    for (let old = next.length - 1; old >= 0; old--) {
      if (this.isTaken[old] === 1) continue
      const key = keyOf(from[this.#start + old])
      next[old] = first.get(key) ?? -1
      first.set(key, old)
    }
    for (let i = 0; i < this.origins.length; i++) {
      if (this.origins[i] !== -1) continue
      const key = keyOf(to[this.#start + i])
      let before = -1
      let old = first.get(key) ?? -1
      for (let tries = 0; old !== -1 && !this.#take(old, i); tries++) {
        before = old
        old = tries < LOOK_AHEAD ? next[old]! : -1
      }
      if (old === -1) continue
      if (before === -1) first.set(key, next[old]!)
      else next[before] = next[old]!
    }
  }
}

/** The key of an element: the id of an object, a hash of any other container, or the scalar itself. */
export function contentKey (element: unknown): unknown {
  return isContainer(element) ? idOf(element) ?? signature(element, 2) : element
}

/** Maximum number of members or elements that a signature reads per container. For a string it sets the sampling step. */
const SAMPLES = 8

/** A hash of a sample of the value. It ignores the order of the sampled members, but samples only the first ones. */
function signature (value: unknown, levels: number): number {
  if (typeof value === 'string') return stringSignature(value)
  if (typeof value === 'number') return Math.imul(value * 4096, 0x9e3779b1)
  if (!isContainer(value)) return value === true ? 1 : 2
  const keys = Array.isArray(value) ? value : Object.keys(value)
  let sum = keys.length
  if (levels === 0) return sum
  for (let i = 0; i < Math.min(keys.length, SAMPLES); i++) {
    const key = Array.isArray(value) ? i : keys[i] as string
    sum = (sum + Math.imul(signature(key, 0) | 1, signature((value as Members)[key], levels - 1) | 1)) | 0
  }
  return sum
}

function stringSignature (text: string): number {
  let sum = text.length
  const step = Math.max(1, Math.floor(text.length / SAMPLES / 2))
  for (let i = text.length - 1; i >= 0; i -= step) sum = (Math.imul(sum, 31) + text.charCodeAt(i)) | 0
  return sum
}
