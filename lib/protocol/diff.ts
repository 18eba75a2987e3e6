import { type ArrayPlan, planArray } from './array-plan.js'
import { type Container, countMembers, getMember, isContainer, JsonWalk, type Members } from './json.js'
import type { Operation } from './messages.js'

/** The drafts in the new value. Each knows its base, and its changes. */
export interface DraftLookup {
  /** The draft of this container; also if the container is the draft's proxy. */
  get (container: object): Drafted | undefined
}

export interface Drafted {
  /** The container of the old value that was drafted. */
  readonly base: Container
  /** Whether the container, or anything inside it, has changed. */
  readonly isTouched: boolean
  /** The new value. */
  settled (): Container
  /** Reports the changes to a comparison whose walk is at this container. */
  reportTo (comparison: Comparison): void
}

/** Removed elements above which the whole new array is sent, if fewer are left. */
const MANY_REMOVED = 1000

/** Whether to send `removed` removals; else the whole array is sent. */
export function isWorthwhile (removed: number, left: number): boolean {
  // an emptied array takes one operation
  return left === 0 ? removed < 2 : removed <= Math.max(left, MANY_REMOVED)
}

/**
 * The operations (add, remove, replace, move) that take `from` to `to`; none if both are equal. Their values are
 * copies.
 *
 * @param from plain JSON such as a document's value, or undefined for no value
 * @param to anything that `copyJson` takes, validated in the same way
 * @param maxDepth how many containers may be inside each other
 * @param drafts those of containers in `from` that are in `to`
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`, as `copyJson`
 */
export function diff (from: unknown, to: unknown, maxDepth: number, drafts?: DraftLookup): Operation[] {
  const comparison = new Comparison(maxDepth, drafts)
  comparison.child(from, to, true)
  return comparison.patches
}

/** Walks two values side by side, and turns differences into operations. */
export class Comparison {
  readonly patches: Operation[] = []
  readonly walk: JsonWalk
  readonly #drafts: DraftLookup | undefined

  constructor (maxDepth: number, drafts?: DraftLookup) {
    this.walk = new JsonWalk(maxDepth, '', drafts)
    this.#drafts = drafts
  }

  member (key: string, old: unknown, given: unknown): void {
    this.walk.at(key)
    this.child(old, given, false)
  }

  element (index: number, old: unknown, given: unknown): void {
    this.walk.at(index)
    this.child(old, given, true)
  }

  /** Inserts an element. */
  add (index: number, given: unknown, element = index): void {
    const { walk } = this
    walk.at(element) // errors name the final place
    const value = walk.copy(walk.resolve(given, true))
    walk.at(index)
    this.patches.push({ op: 'add', path: walk.path(), value })
  }

  remove (key: string | number): void {
    this.walk.at(key)
    this.patches.push({ op: 'remove', path: this.walk.path() })
  }

  /**
   * Compares the values at the current place; `old` is undefined for none.
   * @returns whether any part of the old value is left
   */
  child (old: unknown, given: unknown, required: boolean): boolean {
    const { walk } = this
    const draft = this.#draftOf(given)
    if (draft !== undefined && draft.base === old) {
      if (draft.isTouched) draft.reportTo(this)
      return true
    }
    const value = walk.resolve(given, required)
    if (value === old) return true
    if (value === undefined) {
      this.patches.push({ op: 'remove', path: walk.path() })
    } else if (old === undefined && !walk.isAtRoot) {
      this.patches.push({ op: 'add', path: walk.path(), value: walk.copy(value) })
    } else if (!isContainer(old) || !isContainer(value) || Array.isArray(old) !== Array.isArray(value)) {
      this.#replace(value)
    } else if (draft !== undefined) { // another container of the old value
      if (this.#matches(old, given)) return true
      this.#replace(value)
    } else if (Array.isArray(old)) {
      this.elements(old, this.#plain(value as unknown[]), true)
      return true
    } else {
      return this.#members(old, value as Members)
    }
    return false
  }

  #draftOf (value: unknown): Drafted | undefined {
    return this.#drafts !== undefined && isContainer(value) ? this.#drafts.get(value) : undefined
  }

  #replace (value: unknown): void {
    this.patches.push({ op: 'replace', path: this.walk.path(), value: this.walk.copy(value) })
  }

  #members (from: Members, to: Members): boolean {
    const { walk, patches } = this
    const before = patches.length
    walk.enter(to)
    let common = 0
    let isLeft = false
    for (const key of Object.keys(to)) {
      const old = getMember(from, key)
      const given = to[key]
      if (old !== undefined) common++
      if (given === old && !isContainer(given)) { // true of most members
        isLeft = true
        continue
      }
      walk.at(key)
      if (this.child(old, given, false)) isLeft = true
    }
    const keys = Object.keys(from)
    if (common < keys.length) {
      for (const key of keys) {
        if (from[key] !== undefined && !Object.prototype.propertyIsEnumerable.call(to, key)) this.remove(key)
      }
    }
    walk.leave()
    // what a recipe assigned, and has nothing of what was there, is another object
    if (isLeft || this.#drafts === undefined || patches.length < before + 2) return true
    patches.length = before
    this.#replace(to)
    return false
  }

  /** Of drafts what was drafted, as it would be found in the old value. */
  #plain (list: unknown[]): unknown[] {
    return this.#drafts === undefined ? list : list.map((element) => this.#draftOf(element)?.base ?? element)
  }

  /**
   * Elements of `from` that are in `to` stay or are moved.
   * @param isInside whether there may be drafts among them that have changed
   */
  elements (from: unknown[], to: unknown[], isInside: boolean): void {
    const { walk } = this
    if (!isWorthwhile(from.length - to.length, to.length)) return this.#replace(to)
    walk.enter(to)
    const isLonger = from.length !== to.length
    let start = 0
    let fromEnd = from.length
    let toEnd = to.length
    while (start < fromEnd && start < toEnd && this.#isSame(start, from[start], to[start], isLonger)) start++
    while (fromEnd > start && toEnd > start && this.#isSame(toEnd - 1, from[fromEnd - 1], to[toEnd - 1], isLonger)) {
      fromEnd--
      toEnd--
    }
    // scalars of a list of equal length are replaced, not moved
    const plan = planArray(from, to, start, fromEnd, toEnd, (element) => isContainer(element) ? this.#drafts !== undefined : isLonger)
    if (plan === undefined) {
      walk.leave()
      return this.#replace(to)
    }
    for (let i = start; i < toEnd; i++) {
      const origin = plan.origins[i - start]!
      if (origin === -1 || from[origin] === to[i]) continue
      walk.at(i) // errors name the final place
      if (origin !== i) walk.copy(walk.resolve(to[i], true))
      this.element(origin, from[origin], to[i])
    }
    this.#follow(plan, to)
    if (isInside) this.#inside(from, to, start, toEnd, plan)
    walk.leave()
  }

  /** Compares the elements that stay or were moved. */
  #inside (from: unknown[], to: unknown[], start: number, toEnd: number, { origins }: ArrayPlan): void {
    for (let i = 0; i < to.length; i++) {
      const origin = i < start ? i : i < toEnd ? origins[i - start]! : i - to.length + from.length
      if (from[origin] === to[i] && this.#draftOf(to[i])?.isTouched) this.element(i, to[i], to[i])
    }
  }

  #follow ({ steps }: ArrayPlan, to: unknown[]): void {
    const { walk, patches } = this
    for (const step of steps) {
      if (step.op === 'add') {
        this.add(step.index, to[step.element], step.element)
      } else if (step.op === 'remove') {
        this.remove(step.index)
      } else {
        walk.at(step.from)
        const from = walk.path()
        walk.at(step.index)
        patches.push({ op: 'move', from, path: walk.path() })
      }
    }
  }

  #isSame (index: number, from: unknown, given: unknown, isDeep: boolean): boolean {
    if (from === given || !isDeep) return from === given
    this.walk.at(index)
    return this.#matches(from, given)
  }

  /** Whether both are equal. Equal values are valid; others are validated when they are compared. */
  #matches (from: unknown, given: unknown): boolean {
    const draft = this.#draftOf(given)
    if (draft !== undefined && draft.base === from) return !draft.isTouched
    const to = this.walk.resolve(given, false)
    if (!isContainer(from) || !isContainer(to)) return from === to
    if (Array.isArray(from) !== Array.isArray(to)) return false
    this.walk.enter(to)
    const equal = this.#childrenMatch(from, to)
    this.walk.leave()
    return equal
  }

  #childrenMatch (from: Container, to: Container): boolean {
    if (Array.isArray(to)) {
      if (from.length !== to.length) return false
      for (let i = 0; i < to.length; i++) {
        this.walk.at(i)
        if (!this.#matches((from as unknown[])[i], to[i])) return false
      }
      return true
    }
    let common = 0
    for (const key of Object.keys(to)) {
      const old = getMember(from, key)
      const given = to[key]
      if (given !== old || isContainer(given)) {
        this.walk.at(key)
        if (!this.#matches(old, given)) return false
      }
      if (old !== undefined) common++
    }
    return common === countMembers(from as Members)
  }
}
