export type Step =
  | { op: 'remove', index: number }
  | { op: 'move', from: number, index: number }
  | { op: 'add', index: number, /** in the new array */ element: number }

export interface ArrayPlan {
  /** Applied in order, they make the new array, except for changes inside the elements that stay. */
  steps: Step[]
  /** For each element of the new section, the index of its old element; -1 if it is added. */
  origins: number[]
}

/** Elements that the steps of any plan may shift. A receiver applies each step with a splice. */
const FREE_WORK = 1_000_000

/**
 * Plans how `from[start, fromEnd)` becomes `to[start, toEnd)`. Elements of both stay or are moved. Of the others,
 * a new one replaces an old one if no staying element is between them.
 *
 * @param isMatched whether to look for an element of `from` in `to`
 * @returns undefined if the steps would be too much work
 */
export function planArray (from: unknown[], to: unknown[], start: number, fromEnd: number, toEnd: number, isMatched: (element: unknown) => boolean): ArrayPlan | undefined {
  const old = from.slice(start, fromEnd)
  const isTaken = new Uint8Array(old.length)
  const origins = originsOf(old, to.slice(start, toEnd), isMatched, isTaken)
  const stays = longestIncreasing(origins)
  pairUp(origins, stays, isTaken)

  const steps: Step[] = []
  let work = Math.max(FREE_WORK, 100 * from.length)
  for (let i = old.length - 1; i >= 0; i--) {
    if (isTaken[i] === 1) continue
    steps.push({ op: 'remove', index: start + i })
    work -= from.length - start - i
  }
  // the array after the steps so far; only needed if an element has to be moved
  let list: number[] | undefined
  if (origins.some((origin, i) => origin !== -1 && stays[i] === 0)) {
    list = []
    for (let i = 0; i < old.length; i++) if (isTaken[i] === 1) list.push(i)
  }
  let at = 0
  for (let i = 0; i < origins.length && work >= 0; i++, at++) {
    const origin = origins[i]!
    if (stays[i] === 1) {
      if (list !== undefined) at = list.indexOf(origin, at)
      continue
    }
    work -= from.length
    if (origin === -1) {
      steps.push({ op: 'add', index: start + at, element: start + i })
    } else {
      const place = list!.indexOf(origin)
      list!.splice(place, 1)
      if (place < at) at--
      steps.push({ op: 'move', from: start + place, index: start + at })
    }
    list?.splice(at, 0, origin)
  }
  if (work < 0) return undefined
  for (let i = 0; i < origins.length; i++) if (origins[i] !== -1) origins[i]! += start
  return { steps, origins }
}

/** Most elements that are skipped on either side to find the next common one. */
const LOOK_AHEAD = 8

/** The old index of each element of `to`, -1 for a new one. Equal elements are matched in order. */
function originsOf (from: unknown[], to: unknown[], isMatched: (element: unknown) => boolean, isTaken: Uint8Array): number[] {
  const origins = new Array<number>(to.length).fill(-1)
  // fast path: one walk along both finds inserted and removed elements
  for (let i = 0, old = 0; old < from.length && i < to.length; old++, i++) {
    for (let ahead = 0; ahead <= LOOK_AHEAD; ahead++) {
      if (old + ahead < from.length && from[old + ahead] === to[i] && isMatched(to[i])) old += ahead
      else if (i + ahead < to.length && from[old] === to[i + ahead] && isMatched(from[old])) i += ahead
      else continue
      origins[i] = old
      isTaken[old] = 1
      break
    }
  }
  const first = new Map<unknown, number>()
  const next = new Int32Array(from.length)
  for (let i = from.length - 1; i >= 0; i--) {
    if (isTaken[i] === 1 || !isMatched(from[i])) continue
    next[i] = first.get(from[i]) ?? -1
    first.set(from[i], i)
  }
  if (first.size === 0) return origins
  for (let i = 0; i < to.length; i++) {
    const origin = origins[i] === -1 ? first.get(to[i]) ?? -1 : -1
    if (origin === -1) continue
    origins[i] = origin
    isTaken[origin] = 1
    first.set(to[i], next[origin]!)
  }
  return origins
}

/** Marks a longest increasing subsequence of the origins, without -1 (patience sorting). */
function longestIncreasing (origins: number[]): Uint8Array {
  const marks = new Uint8Array(origins.length)
  if (isAscending(origins)) {
    for (let i = 0; i < origins.length; i++) if (origins[i] !== -1) marks[i] = 1
    return marks
  }
  const ends: number[] = [] // by length: the end of the sequence with the lowest last origin
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
  for (let i = ends.at(-1) ?? -1; i >= 0; i = before[i]!) marks[i] = 1
  return marks
}

function isAscending (origins: number[]): boolean {
  let last = -1
  for (const origin of origins) {
    if (origin === -1) continue
    if (origin < last) return false
    last = origin
  }
  return true
}

/** Pairs new elements with removed ones between the same two staying elements, to replace them. */
function pairUp (origins: number[], stays: Uint8Array, isTaken: Uint8Array): void {
  let old = 0
  let next = -1 // the next one that stays
  for (let i = 0; i < origins.length; i++) {
    if (stays[i] === 1) {
      old = origins[i]! + 1
      continue
    }
    if (origins[i] !== -1) continue
    if (next < i) {
      next = stays.indexOf(1, i)
      if (next === -1) next = origins.length
    }
    const end = origins[next] ?? isTaken.length
    while (old < end && isTaken[old] === 1) old++
    if (old >= end) continue
    origins[i] = old
    isTaken[old] = 1
    stays[i] = 1
  }
}
