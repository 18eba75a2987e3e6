import { ArrayComparison, type ElementEdits, isWorthwhile } from './array-comparison.js'
import { type Container, getMember, isContainer, JsonWalk, type Members } from './json.js'
import type { Operation } from './messages.js'
import { idOf } from './record-id.js'

/** Finds the drafts in the new value. */
export interface DraftLookup {
  /** The draft of a container, which may also be given as the draft's proxy. */
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

/** Maximum number of children, in one diff, to compare without a match while looking for moved elements. */
const MOST_IN_VAIN = 100_000

/** Walks two values side by side, and turns differences into operations. */
export class Comparison implements ElementEdits {
  readonly patches: Operation[] = []
  readonly walk: JsonWalk
  readonly #drafts: DraftLookup | undefined
  /** True while the walk only tests whether two values differ. It then stops at the first difference. */
  #isProbing = false
  #differs = false
  /** Number of children compared, and of those compared without a match. */
  #visited = 0
  #inVain = 0

  /** @param drafts finds the drafts in the new value */
  constructor (maxDepth: number, drafts?: DraftLookup) {
    this.walk = new JsonWalk(maxDepth, '', drafts)
    this.#drafts = drafts
  }

  member (key: string, old: unknown, given: unknown): void {
    this.walk.at(key)
    this.child(old, given, false)
  }

  element (index: number, old: unknown, given: unknown): boolean {
    const before = this.patches.length
    this.walk.at(index)
    this.child(old, given, true)
    return this.patches.length > before
  }

  isTouched (element: object): boolean {
    return this.#drafts?.get(element)?.isTouched === true
  }

  /** Whether too many comparisons found no match. From then on only identity and ids are compared. */
  get isSpent (): boolean { return this.#inVain > MOST_IN_VAIN }

  isSameElement (old: unknown, given: unknown, index: number): boolean {
    if (old === given) return true
    const id = idOf(old)
    if (id !== undefined) return id === idOf(given)
    if (!isContainer(given) || this.isSpent) return false
    const visited = this.#visited
    this.walk.at(index)
    if (this.#isEqual(old, given)) return true
    this.#inVain += this.#visited - visited + 1
    return false
  }

  /** Whether the values at the current place are equal. */
  #isEqual (old: unknown, given: unknown): boolean {
    this.#isProbing = true
    this.child(old, given, true)
    const isEqual = !this.#differs
    this.#isProbing = this.#differs = false
    return isEqual
  }

  /** Inserts an element. */
  add (index: number, given: unknown, element = index): void {
    const { walk } = this
    walk.at(element) // errors name the final index
    const value = walk.copy(walk.resolve(given, true))
    walk.at(index)
    this.push({ op: 'add', path: walk.path(), value })
  }

  remove (key: string | number): void {
    this.walk.at(key)
    this.push({ op: 'remove', path: this.walk.path() })
  }

  move (from: number, index: number): void {
    const { walk } = this
    walk.at(from)
    const path = walk.path()
    walk.at(index)
    this.push({ op: 'move', from: path, path: walk.path() })
  }

  /**
   * Compares the values at the current place; `old` is undefined for none.
   * @returns whether any part of the old value is left
   */
  child (old: unknown, given: unknown, required: boolean): boolean {
    const { walk } = this
    const draft = this.#draftOf(given)
    if (draft !== undefined && draft.base === old) {
      if (this.#isProbing) this.#differs = draft.isTouched
      else if (draft.isTouched) draft.reportTo(this)
      return true
    }
    const value = walk.resolve(given, required)
    if (value === old) return true
    const areAlike = isContainer(old) && isContainer(value) && Array.isArray(old) === Array.isArray(value)
    if (this.#isProbing && !areAlike) {
      this.#differs = true
    } else if (value === undefined) {
      this.push({ op: 'remove', path: walk.path() })
    } else if (old === undefined && !walk.isAtRoot) {
      this.push({ op: 'add', path: walk.path(), value: walk.copy(value) })
    } else if (!areAlike) {
      this.#replace(value)
    } else if (draft !== undefined && !this.#isProbing) { // a draft of another container of the old value
      if (this.#isEqual(old, given)) return true
      this.#replace(value)
    } else {
      if (!Array.isArray(old)) return this.#members(old as Members, value as Members)
      if (this.#isProbing) this.#probe(old, value as unknown[])
      else this.elements(old, this.#plain(value as unknown[]))
      return true
    }
    return false
  }

  #draftOf (value: unknown): Drafted | undefined {
    return this.#drafts !== undefined && isContainer(value) ? this.#drafts.get(value) : undefined
  }

  /** A key that an element has in both arrays. Different elements may share a key. */
  keyOf (element: unknown): unknown {
    return idOf(element) ?? element
  }

  /** Whether a child of an old container is known to equal `given`. */
  isKnown (_container: Container, _key: string | number, _given: object): boolean {
    return false
  }

  /** Records that a child of an old container equals `given`. */
  note (_container: Container, _key: string | number, _given: unknown): void {}

  protected push (operation: Operation): void {
    this.patches.push(operation)
  }

  /** Whether the whole container takes fewer bytes than the operations since `before`. */
  protected isTooLong (_before: number, _container: Container): boolean {
    return false
  }

  #replace (value: unknown): void {
    this.push({ op: 'replace', path: this.walk.path(), value: this.walk.copy(value) })
  }

  /** Replaces the container at the current place, and drops the operations in it. */
  #replaceWhole (value: unknown, before: number): void {
    this.patches.length = before
    this.#replace(value)
  }

  #members (from: Members, to: Members): boolean {
    const { walk, patches } = this
    const before = patches.length
    walk.enter(to)
    let common = 0
    let isLeft = false
    const oldNames = Object.keys(from)
    let i = 0
    // for-in is a third faster here than a loop over Object.keys
    for (const name in to) {
      if (!Object.prototype.hasOwnProperty.call(to, name)) continue
      const old = oldNames[i++] === name ? from[name] : getMember(from, name)
      const given = to[name]
      if (old !== undefined) common++
      if (isContainer(given) ? this.isKnown(from, name, given) : given === old) { // most members are unchanged
        isLeft = true
        continue
      }
      walk.at(name)
      const count = patches.length
      if (this.child(old, given, false)) isLeft = true
      if (this.#differs) break
      if (patches.length === count) this.note(from, name, given)
    }
    this.#visited += i
    if (common < oldNames.length && !this.#differs) this.#removeFrom(from, to)
    walk.leave()
    // a recipe assigned an object that shares nothing with the old one: send it whole
    const isAnother = !isLeft && this.#drafts !== undefined && patches.length >= before + 2
    if (!isAnother && !this.isTooLong(before, to)) return true
    this.#replaceWhole(to, before)
    return false
  }

  #removeFrom (from: Members, to: Members): void {
    for (const name of Object.keys(from)) {
      if (from[name] === undefined || Object.prototype.propertyIsEnumerable.call(to, name)) continue
      if (this.#isProbing) this.#differs = true
      else this.remove(name)
    }
  }

  /** Tests whether two arrays differ. Elements count as equal only at the same index. */
  #probe (from: unknown[], to: unknown[]): void {
    const { walk } = this
    this.#differs = from.length !== to.length
    walk.enter(to)
    this.#visited += to.length
    for (let i = 0; i < to.length && !this.#differs; i++) {
      const given = to[i]
      if (isContainer(given) && this.isKnown(from, i, given)) continue
      walk.at(i)
      this.child(from[i], given, true)
      if (!this.#differs) this.note(from, i, given)
    }
    walk.leave()
  }

  /** Replaces drafts by their bases, so that identity with elements of the old array is visible. */
  #plain (list: unknown[]): unknown[] {
    return this.#drafts === undefined ? list : list.map((element) => this.#draftOf(element)?.base ?? element)
  }

  /** Compares two arrays. Elements of `from` that are in `to` stay or are moved. */
  elements (from: unknown[], to: unknown[]): void {
    const { walk } = this
    if (!isWorthwhile(from.length, to.length)) return this.#replace(to)
    const before = this.patches.length
    walk.enter(to)
    const isReported = new ArrayComparison(this, from, to).report()
    walk.leave()
    if (!isReported || this.isTooLong(before, to)) this.#replaceWhole(to, before)
  }
}
