import { type Container, countMembers, getMember, isContainer, JsonWalk, type Members } from './json.js'
import type { Operation } from './messages.js'

/**
 * The operations (add, remove, replace) that take `from` to `to`; none where both say the same.
 * They own their values.
 *
 * @param from plain JSON, a document's value for example, or undefined for no value
 * @param to anything that `copyJson` takes, validated in the same way
 * @param maxDepth how many containers may be inside each other
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`, as `copyJson`
 */
export function diff (from: unknown, to: unknown, maxDepth: number): Operation[] {
  const comparison = new Comparison(maxDepth)
  comparison.compare(from, comparison.walk.resolve(to, true))
  return comparison.patches
}

class Comparison {
  readonly patches: Operation[] = []
  readonly walk: JsonWalk

  constructor (maxDepth: number) {
    this.walk = new JsonWalk(maxDepth)
  }

  /** @param to what the walk resolved here */
  compare (from: unknown, to: unknown): void {
    if (!isContainer(from) || !isContainer(to)) {
      if (from !== to) this.#replace(to)
    } else if (Array.isArray(from)) {
      // emptying an array is one operation and not one per element
      if (Array.isArray(to) && (to.length > 0 || from.length < 2)) this.#compareArrays(from, to)
      else this.#replace(to)
    } else if (Array.isArray(to)) {
      this.#replace(to)
    } else {
      this.#compareObjects(from, to)
    }
  }

  #replace (to: unknown): void {
    this.patches.push({ op: 'replace', path: this.walk.path(), value: this.walk.copy(to) })
  }

  #add (to: unknown): void {
    this.patches.push({ op: 'add', path: this.walk.path(), value: this.walk.copy(to) })
  }

  #remove (): void {
    this.patches.push({ op: 'remove', path: this.walk.path() })
  }

  #compareObjects (from: Members, to: Members): void {
    const { walk } = this
    walk.enter(to)
    let common = 0
    for (const key of Object.keys(to)) {
      const old = getMember(from, key)
      const given = to[key]
      if (old !== undefined) common++
      if (given === old && !isContainer(given)) continue // what most members are
      walk.at(key)
      const value = walk.resolve(given, false)
      if (value === undefined) {
        if (old !== undefined) this.#remove()
      } else if (old === undefined) {
        this.#add(value)
      } else {
        this.compare(old, value)
      }
    }
    const keys = Object.keys(from)
    if (common < keys.length) {
      for (const key of keys) {
        if (from[key] === undefined || Object.prototype.propertyIsEnumerable.call(to, key)) continue
        walk.at(key)
        this.#remove()
      }
    }
    walk.leave()
  }

  #compareArrays (from: unknown[], to: unknown[]): void {
    const { walk } = this
    walk.enter(to)
    let start = 0
    let fromEnd = from.length
    let toEnd = to.length
    if (fromEnd !== toEnd) { // else the elements that are equal give no operation anyway
      while (start < fromEnd && start < toEnd && this.#matchesAt(start, from[start], to)) start++
      while (fromEnd > start && toEnd > start && this.#matchesAt(toEnd - 1, from[fromEnd - 1], to)) {
        fromEnd--
        toEnd--
      }
    }
    for (let i = start; i < toEnd; i++) {
      walk.at(i)
      const value = walk.resolve(to[i], true)
      if (i < fromEnd) this.compare(from[i], value)
      else this.#add(value)
    }
    for (let i = fromEnd - 1; i >= toEnd; i--) {
      walk.at(i)
      this.#remove()
    }
    walk.leave()
  }

  #matchesAt (index: number, from: unknown, to: unknown[]): boolean {
    this.walk.at(index)
    return this.#matches(from, to[index])
  }

  /** Whether both are equal. What it saw is valid; a value that differs is validated when it is compared. */
  #matches (from: unknown, given: unknown): boolean {
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
      for (let i = 0; i < to.length; i++) if (!this.#matchesAt(i, (from as unknown[])[i], to)) return false
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
