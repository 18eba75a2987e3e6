import { Alignment, type Section } from './array-align.js'
import { type ArrayPlan, planArray, REPLACED } from './array-plan.js'
import { type Container, isContainer } from './json.js'
import { idOf } from './record-id.js'

/** Receives the edits of the array that the walk has entered, and answers questions about its elements. */
export interface ElementEdits {
  /** Whether the old element at `index` is known to equal `given`. */
  isKnown (from: Container, index: number, given: object): boolean
  /** Records that the old element at `index` equals `given`. */
  note (from: Container, index: number, given: unknown): void
  /**
   * Whether two elements are the same: equal, or with the same id (the other members may differ).
   * @param index of `given` in the new array
   */
  isSameElement (old: unknown, given: unknown, index: number): boolean
  /** A key that an element has in both arrays. Different elements may share a key. */
  keyOf (element: unknown): unknown
  /** Whether the element is the base of a draft that has changed. */
  isTouched (element: object): boolean
  add (index: number, given: unknown, element: number): void
  remove (index: number): void
  move (from: number, index: number): void
  /** Compares an element. @returns whether it has changed */
  element (index: number, old: unknown, given: unknown): boolean
}

/** Number of elements that may be added or removed one by one, even if they are most of the array. */
const MANY = 1000

/** Whether to send edits of the array, rather than the whole array. */
export function isWorthwhile (before: number, after: number): boolean {
  // one operation is enough to empty an array
  if (after === 0) return before < 2
  return Math.abs(before - after) <= Math.max(MANY, Math.min(before, after))
}

/** Finds the elements of one array in another. */
export class ArrayComparison {
  readonly #edits: ElementEdits
  readonly #from: unknown[]
  readonly #to: unknown[]
  readonly #section: Section

  constructor (edits: ElementEdits, from: unknown[], to: unknown[]) {
    this.#edits = edits
    this.#from = from
    this.#to = to
    this.#section = this.#inner()
  }

  /** Reports the edits. @returns false if the whole array must be sent */
  report (): boolean {
    const plan = this.#plan()
    if (plan === undefined) return false
    if (plan !== 'in place') this.#follow(plan)
    // compare only now, when all elements are at their final index
    for (let i = 0; i < this.#to.length; i++) this.#compare(i, plan)
    return true
  }

  /** The section without the elements at both ends that are the same. */
  #inner (): Section {
    let start = 0
    let fromEnd = this.#from.length
    let toEnd = this.#to.length
    // with one pair left in each array, no search is needed
    const least = fromEnd === toEnd ? 1 : 0
    while (Math.min(fromEnd, toEnd) - start > least && this.#isSame(start, start)) start++
    while (Math.min(fromEnd, toEnd) - start > least && this.#isSame(fromEnd - 1, toEnd - 1)) {
      fromEnd--
      toEnd--
    }
    return { start, fromEnd, toEnd }
  }

  #isSame (origin: number, index: number): boolean {
    const old = this.#from[origin]
    const given = this.#to[index]
    if (old === given || this.#isKnown(origin, given)) return true
    if (!this.#edits.isSameElement(old, given, index)) return false
    if (idOf(old) === undefined) this.#edits.note(this.#from, origin, given)
    return true
  }

  #isKnown (origin: number, given: unknown): boolean {
    return isContainer(given) && this.#edits.isKnown(this.#from, origin, given)
  }

  /** The plan, or undefined if the whole array must be sent. */
  #plan (): ArrayPlan | 'in place' | undefined {
    const { start, fromEnd, toEnd } = this.#section
    const isEven = fromEnd === toEnd
    if (isEven && toEnd - start <= 1) return 'in place'
    const alignment = new Alignment(this.#section, (origin, index) => this.#isSame(origin, index))
    alignment.walk()
    if (!alignment.isComplete) alignment.lookUp(this.#from, this.#to, (element) => this.#edits.keyOf(element))
    const plan = planArray(alignment, start, this.#from.length)
    return isEven && plan !== undefined && this.#areReplaced(plan.steps.length) ? 'in place' : plan
  }

  /** Whether to replace short scalars in place, because this takes no more operations than to move them. */
  #areReplaced (steps: number): boolean {
    const { start, toEnd } = this.#section
    let replaced = 0
    for (let i = start; i < toEnd && replaced <= steps; i++) {
      if (this.#from[i] === this.#to[i]) continue
      if (isLong(this.#from[i]) || isLong(this.#to[i])) return false
      replaced++
    }
    return replaced <= steps
  }

  #follow ({ steps }: ArrayPlan): void {
    for (const step of steps) {
      if (step.op === 'add') this.#edits.add(step.index, this.#to[step.element], step.element)
      else if (step.op === 'remove') this.#edits.remove(step.index)
      else this.#edits.move(step.from, step.index)
    }
  }

  /** Compares an element with its old element, unless both are known to be equal. */
  #compare (i: number, plan: ArrayPlan | 'in place'): void {
    const { start, toEnd } = this.#section
    const isInside = i >= start && i < toEnd
    const origin = i < start ? i : !isInside ? i - this.#to.length + this.#from.length : plan === 'in place' ? i : plan.origins[i - start]!
    if (origin === -1) return
    const old = this.#from[origin]
    const given = this.#to[i]
    if (old === given) {
      if (isContainer(given) && this.#edits.isTouched(given)) this.#edits.element(i, given, given)
      return
    }
    if (this.#isKnown(origin, given)) return
    const isReplaced = isInside && (plan === 'in place' || plan.kinds[i - start] === REPLACED)
    if ((isReplaced || idOf(old) !== undefined) && !this.#edits.element(i, old, given)) this.#edits.note(this.#from, origin, given)
  }
}

function isLong (value: unknown): boolean {
  return typeof value === 'string' ? value.length > 50 : isContainer(value)
}
