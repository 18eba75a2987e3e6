import type { Alignment } from './array-align.js'

export type Step =
  | { op: 'remove', index: number }
  | { op: 'move', from: number, index: number }
  | { op: 'add', index: number, /** in the new array */ element: number }

export interface ArrayPlan {
  /** In order, they build the new array, except for changes inside elements that stay. */
  steps: Step[]
  /** For each new element, the index of its old element or of the element that it replaces; -1 if it is added. */
  origins: Int32Array
  /** For each new element: MOVED, KEPT or REPLACED. */
  kinds: Uint8Array
}

/** Moved; added if the element has no origin. */
const MOVED = 0
const KEPT = 1
/** Replaces another element. Both may have parts in common. */
export const REPLACED = 2

/** Number of elements that the steps of any plan may shift. A receiver applies each step with a splice. */
const FREE_WORK = 1_000_000

/**
 * Plans the edits of an array of `length` elements, in the section that starts at `start`. Elements in both arrays
 * stay or are moved. A new element replaces a removed one if no element that stays is between them.
 *
 * @param alignment of the section; the plan owns and changes it
 * @returns undefined if the steps would be too much work
 */
export function planArray ({ origins, isTaken }: Alignment, start: number, length: number): ArrayPlan | undefined {
  const oldCount = isTaken.length
  const kinds = longestIncreasing(origins)
  pairUp(origins, kinds, isTaken)

  const steps: Step[] = []
  let work = Math.max(FREE_WORK, 100 * length)
  for (let i = oldCount - 1; i >= 0; i--) {
    if (isTaken[i] === 1) continue
    steps.push({ op: 'remove', index: start + i })
    work -= length - start - i
  }
  // the array after the steps so far; needed only if an element is moved
  let list: number[] | undefined
  if (origins.some((origin, i) => origin !== -1 && kinds[i] === MOVED)) {
    list = []
    for (let i = 0; i < oldCount; i++) if (isTaken[i] === 1) list.push(i)
  }
  let at = 0
  for (let i = 0; i < origins.length && work >= 0; i++, at++) {
    const origin = origins[i]!
    if (kinds[i] !== MOVED) {
      if (list !== undefined) at = list.indexOf(origin, at)
      continue
    }
    if (origin === -1) {
      work -= Math.max(0, length - start - at)
      steps.push({ op: 'add', index: start + at, element: start + i })
    } else {
      work -= length
      const place = list!.indexOf(origin)
      list!.splice(place, 1)
      if (place < at) at--
      steps.push({ op: 'move', from: start + place, index: start + at })
    }
    list?.splice(at, 0, origin)
  }
  if (work < 0) return undefined
  for (let i = 0; i < origins.length; i++) if (origins[i] !== -1) origins[i]! += start
  return { steps, origins, kinds }
}

/** Marks a longest increasing subsequence of the origins, ignoring -1 (patience sorting). */
function longestIncreasing (origins: Int32Array): Uint8Array {
  const marks = new Uint8Array(origins.length)
  if (isAscending(origins)) {
    for (let i = 0; i < origins.length; i++) if (origins[i] !== -1) marks[i] = KEPT
    return marks
  }
  const ends: number[] = [] // for each length: the index that ends the sequence with the lowest last origin
  const before = new Int32Array(origins.length)
  for (let i = 0; i < origins.length; i++) {
    const origin = origins[i]!
    if (origin === -1) continue
    let low = 0
    let high = ends.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (origins[ends[middle]!]! < origin) low = middle + 1
      else high = middle
    }
    before[i] = low > 0 ? ends[low - 1]! : -1
    ends[low] = i
  }
  for (let i = ends.at(-1) ?? -1; i >= 0; i = before[i]!) marks[i] = KEPT
  return marks
}

function isAscending (origins: Int32Array): boolean {
  let last = -1
  for (const origin of origins) {
    if (origin === -1) continue
    if (origin < last) return false
    last = origin
  }
  return true
}

/** Pairs new elements with removed ones that are between the same two kept elements, to replace them. */
function pairUp (origins: Int32Array, kinds: Uint8Array, isTaken: Uint8Array): void {
  let old = 0
  let next = -1 // index of the next kept element
  for (let i = 0; i < origins.length; i++) {
    if (kinds[i] === KEPT) {
      old = origins[i]! + 1
      continue
    }
    if (origins[i] !== -1) continue
    if (next < i) {
      next = kinds.indexOf(KEPT, i)
      if (next === -1) next = origins.length
    }
    const end = origins[next] ?? isTaken.length
    while (old < end && isTaken[old] === 1) old++
    if (old >= end) continue
    origins[i] = old
    isTaken[old] = 1
    kinds[i] = REPLACED
  }
}
