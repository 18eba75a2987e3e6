export type Step =
  | { op: 'remove', index: number }
  | { op: 'move', from: number, index: number }
  | { op: 'add', index: number, /** in the new array */ element: number }

export interface ArrayPlan {
  /** One after the other they make the new array, but for what has changed inside the elements that stay. */
  steps: Step[]
  /** For each element of the new section, the index of the old one that becomes it; -1 where it is added. */
  origins: number[]
}

/** Elements that the steps may shift, at least: a receiver does each step with a splice. */
const FREE_WORK = 1_000_000

/**
 * How the section of `from` up to `fromEnd` becomes that of `to` up to `toEnd`, both from `start` on: elements that
 * are in both stay or are moved, others take each other's place in pairs where no element that stays is between them.
 *
 * @param isMatched whether an element of `from` is to be looked for in `to`
 * @returns undefined where the steps would be too much work
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
  // what is there after the steps so far, where something has to be moved; else all is in its place
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

/** Elements that are skipped on either side in search of the next one that is in both. */
const LOOK_AHEAD = 8

/** Of each element of `to` where it was, -1 for a new one. Of equal elements the first goes to the first place. */
function originsOf (from: unknown[], to: unknown[], isMatched: (element: unknown) => boolean, isTaken: Uint8Array): number[] {
  const origins = new Array<number>(to.length).fill(-1)
  // what mostly happens to a list, some elements inserted or removed, is found in one walk along both
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

/** Marks the most places whose origins, -1 left out, are in ascending order (patience sorting). */
function longestIncreasing (origins: number[]): Uint8Array {
  const marks = new Uint8Array(origins.length)
  if (isAscending(origins)) {
    for (let i = 0; i < origins.length; i++) if (origins[i] !== -1) marks[i] = 1
    return marks
  }
  const ends: number[] = [] // by length: where the sequence of that length ends that ends lowest
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

/** A new element takes the place of one that goes, where both are between the same two that stay. */
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
