import { isWorthwhile } from './array-comparison.js'
import type { Comparison } from './comparison.js'
import { ContainerDraft, unfit } from './draft-container.js'
import { coded } from './errors.js'
import { parseIndex } from './pointer.js'

/** Maximum number of elements that an assignment past the end of an array, or to its length, may add. */
const MAX_GAP = 1_000_000

/**
 * The draft of an array. It records replaced, appended and cut-off elements as changes. The first method that moves
 * elements makes a copy.
 */
export class ArrayDraft extends ContainerDraft<unknown[]> {
  #copy: unknown[] | undefined
  #length = this.base.length
  /** Number of leading elements that still come from the base array, except for the changes. */
  #kept = this.base.length
  #changes: Map<number, unknown> | undefined
  #settled: unknown[] | undefined

  get #size (): number { return this.#copy?.length ?? this.#length }

  #stored (index: number): unknown {
    if (this.#copy !== undefined) return this.#copy[index]
    const value = this.#changes?.get(index)
    if (value !== undefined || this.#changes?.has(index)) return value
    return index < this.#kept ? this.base[index] : undefined
  }

  #holdsIndex (index: number): boolean {
    return this.#copy === undefined ? index < this.#length : Object.hasOwn(this.#copy, index)
  }

  /** Switches to a copy, on which array methods work. */
  #own (): unknown[] {
    if (this.#copy !== undefined) return this.#copy
    this.#copy = this.base.slice(0, this.#kept)
    for (const [index, value] of this.#changes ?? []) this.#copy[index] = value
    return this.#copy
  }

  #put (index: number, value: unknown): void {
    this.touch()
    const length = this.#size
    if (index > length) checkGap(index - length)
    // a hole, or an element that the recipe moved here from another index
    if (index > length || (index < this.base.length && this.#isDrafted(value))) this.#own()
    if (this.#copy !== undefined) {
      this.#copy[index] = value
      return
    }
    this.#changes ??= new Map()
    this.#changes.set(index, value)
    this.#length = Math.max(length, index + 1)
  }

  #isDrafted (value: unknown): boolean {
    return typeof value === 'object' && value !== null && this.drafts.get(value) !== undefined
  }

  #setLength (value: unknown): void {
    const length = Number(value)
    if (length !== length >>> 0) throw coded(new RangeError('Invalid array length'), 'INVALID_JSON')
    const old = this.#size
    if (length === old) return
    this.touch()
    if (length > old) {
      checkGap(length - old)
      this.#own()
    }
    if (this.#copy !== undefined) {
      this.#copy.length = length
      return
    }
    if (length === old - 1) this.#changes?.delete(length)
    else for (const index of this.#changes?.keys() ?? []) if (index >= length) this.#changes!.delete(index)
    this.#kept = Math.min(this.#kept, length)
    this.#length = length
  }

  protected read (key: string): unknown {
    if (key === 'length') return this.#size
    const index = parseIndex(key)
    if (index >= 0) return this.shown(this.#stored(index), index)
    const method = METHODS.get(key)
    // an inherited method; the prototype is not exposed, because a recipe could write to it
    if (method === undefined) return key === '__proto__' ? undefined : Reflect.get(Array.prototype, key)
    return (...args: unknown[]) => {
      this.check()
      return this[method](key as never, args)
    }
  }

  protected holds (key: string): boolean {
    const index = parseIndex(key)
    return index < 0 ? key === 'length' : this.#holdsIndex(index)
  }

  protected keys (): string[] {
    const keys: string[] = []
    for (let i = 0; i < this.#size; i++) if (this.#holdsIndex(i)) keys.push(String(i))
    keys.push('length')
    return keys
  }

  protected describe (key: string): PropertyDescriptor | undefined {
    if (key === 'length') return { value: this.#size, writable: true, enumerable: false, configurable: false }
    if (!this.holds(key)) return undefined
    return { value: this.read(key), writable: true, enumerable: true, configurable: true }
  }

  protected write (key: string, value: unknown): void {
    if (key === 'length') return this.#setLength(value)
    const index = parseIndex(key)
    if (index < 0) throw unfit(`a member of an array called ${JSON.stringify(key)}`)
    if (this.#stored(index) !== value || !this.#holdsIndex(index)) this.#put(index, value)
  }

  protected erase (key: string): boolean {
    if (key === 'length') return false
    if (!this.holds(key)) return true
    this.touch()
    delete this.#own()[Number(key)]
    return true
  }

  // Array methods that would otherwise call a proxy trap per element.

  push (_name: string, items: unknown[]): number {
    this.drafts.hasWritten = true
    for (const item of items) this.#put(this.#size, this.drafts.take(item))
    return this.#size
  }

  pop (): unknown {
    this.drafts.hasWritten = true
    const last = this.#size - 1
    if (last < 0) return undefined
    const value = this.shown(this.#stored(last), last)
    this.#setLength(last)
    return value
  }

  /** Runs a method that changes the list in place. */
  rearrange (name: 'splice', args: unknown[]): unknown {
    this.touch()
    const list = this.#own()
    const result: unknown = list[name](...args.map((arg) => this.drafts.take(arg)) as [number])
    if (result === list) return this.proxy
    return name === 'splice' ? (result as unknown[]).map((value, i) => this.shown(value, i)) : this.shown(result, 0)
  }

  sort (_name: string, [compare]: unknown[]): unknown {
    this.drafts.hasWritten = true
    const list = this.#own()
    const sorted = list.map((value, i) => this.shown(value, i)).sort(compare as () => number)
    // holes go last, behind undefined
    const isSame = sorted.every((value, i) => Object.hasOwn(list, i) && this.drafts.plain(value) === list[i])
    if (isSame) return this.proxy
    this.touch()
    this.#copy = sorted.map((value) => this.drafts.plain(value))
    return this.proxy
  }

  search (name: 'indexOf', [sought, ...from]: unknown[]): number {
    const isSame = this.#changes === undefined && this.#length === this.base.length
    return (this.#copy ?? (isSame ? this.base : this.#own()))[name](this.drafts.plain(sought), ...from as number[])
  }

  settled (): unknown[] {
    if (!this.isTouched) return this.base
    if (this.#settled === undefined) {
      const list = this.#own()
      // JSON.stringify writes null for a hole
      this.#settled = list.includes(undefined) ? Array.from(list, (value, i) => Object.hasOwn(list, i) ? value : null) : list
    }
    return this.#settled
  }

  reportTo (comparison: Comparison): void {
    const { base } = this
    const common = Math.min(base.length, this.#length)
    if (this.#copy !== undefined || !isWorthwhile(base.length, this.#length)) {
      comparison.elements(base, this.settled())
      return
    }
    comparison.walk.enter(base)
    for (const [index, value] of this.#changes ?? []) {
      if (index < common) comparison.element(index, base[index], value)
      else comparison.add(index, value)
    }
    for (const { key, base } of this.touchedChildren ?? []) {
      if ((key as number) < this.#kept && !this.#changes?.has(key as number)) comparison.element(key as number, base, base)
    }
    for (let i = base.length - 1; i >= common; i--) comparison.remove(i)
    comparison.walk.leave()
  }
}

const METHODS = new Map<string, 'push' | 'pop' | 'rearrange' | 'sort' | 'search'>([
  ['push', 'push'], ['pop', 'pop'], ['sort', 'sort'],
  ...['shift', 'unshift', 'splice', 'reverse', 'fill', 'copyWithin'].map((name) => [name, 'rearrange'] as const),
  ...['indexOf', 'lastIndexOf', 'includes'].map((name) => [name, 'search'] as const)
])

function checkGap (count: number): void {
  if (count > MAX_GAP) throw coded(new RangeError(`an array cannot be extended by more than ${MAX_GAP} elements at once`), 'LIMIT_EXCEEDED')
}
