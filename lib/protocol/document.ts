import { coded } from './errors.js'
import { FrozenSources } from './frozen-sources.js'
import { type Container, countMembers, getMember, jsonDepth, type Members, putMember } from './json.js'
import { jsonSize } from './json-size.js'
import type { Operation } from './messages.js'
import { type Editor, runPatch } from './patch.js'

/** Limits for an untrusted patch. */
export interface PatchLimits {
  /** Maximum nesting depth of the patched value. */
  maxDepth: number
  /**
   * Maximum number of bytes that the operations insert, move, copy and compare in total. It bounds the time of a patch and
   * the growth of the value, because a short patch can copy a large value many times.
   */
  maxWork: number
}

/** Bytes counted per member when a transaction has to save the order of an object's members. */
const PER_NAME = 8

/**
 * One JSON value that is edited in place and tracks its exact size. The cost of an edit is the size of the inserted
 * and removed values.
 *
 * Inside a transaction (`mark` to `rollback` or `release`) every edit can be undone. A removed member stays as
 * undefined until the release, to keep its place among the others. JSON.stringify and the functions of json.ts
 * treat it as absent.
 */
export class Document implements Editor {
  /** Holds the value as member ''. For patches only. */
  readonly holder: Members = {}
  /** The size of `holder`. */
  #size = 2
  /** Number of members of an object, cached: the first one adds no comma. */
  readonly #counts = new WeakMap<Members, number>()
  /** Frozen values that are known to equal parts of this document. */
  readonly sources = new FrozenSources(() => this.#journal.length === 0)
  #journal: (() => void)[] = []
  #leftBehind: [object: Members, key: string][] = []
  #transactions = 0
  #limits: PatchLimits | undefined
  #work = 0

  /**
   * @param value plain JSON, which the document owns from now on; undefined for none
   * @param isSized false if `size` is never read; this saves a walk over the value
   */
  constructor (value?: unknown, isSized = true) {
    if (isSized) this.set(value)
    else if (value !== undefined) this.holder[''] = value
  }

  /** The live value, or undefined. Callers must neither change nor keep it. */
  get value (): unknown {
    return this.holder['']
  }

  /** Bytes of `JSON.stringify(value)` in UTF-8; 0 without a value. */
  get size (): number {
    return this.value === undefined ? 0 : this.#size - '{"":}'.length
  }

  /** Replaces the value; undefined leaves none. */
  set (value: unknown): void {
    this.put(this.holder, '', value)
  }

  /**
   * Applies a JSON Patch (RFC 6902) in place, all of it or nothing. The document then owns the operations' values.
   * @param limits for untrusted patches
   * @throws PatchError if the patch does not apply
   * @throws RangeError `TOO_DEEP`, `LIMIT_EXCEEDED` beyond the limits
   */
  apply (patches: Operation[], limits?: PatchLimits): void {
    const mark = this.mark()
    this.#limits = limits
    this.#work = 0
    try {
      runPatch(this, patches)
    } catch (error) {
      this.rollback(mark)
      throw error
    } finally {
      this.#limits = undefined
    }
    this.release()
  }

  /** Starts a transaction, possibly a nested one. `rollback` or `release` ends it. */
  mark (): number {
    this.#transactions++
    return this.#journal.length
  }

  /** Undoes the edits since `mark`, key order included, and ends the transaction. */
  rollback (mark: number): void {
    while (this.#journal.length > mark) this.#journal.pop()!()
    this.#endTransaction()
  }

  /** Keeps the edits, and ends the transaction. */
  release (): void {
    this.#endTransaction()
  }

  #endTransaction (): void {
    if (--this.#transactions > 0) return
    if (this.#journal.length > 0) this.#journal = []
    if (this.#leftBehind.length === 0) return
    for (const [object, key] of this.#leftBehind) if (object[key] === undefined) delete object[key]
    this.#leftBehind = []
  }

  open (parent: Container, key: string | number, child: Container): Container {
    this.sources.forget(parent, key)
    return child
  }

  /** Sets a member; undefined removes it. */
  put (object: Members, key: string, value: unknown): void {
    const old = getMember(object, key)
    this.sources.forget(object, key)
    if (old === undefined || value === undefined) {
      if (old !== value) this.#changeMembers(object, key, old, value)
      return
    }
    const size = this.#size
    this.#size += jsonSize(value) - jsonSize(old)
    putMember(object, key, value)
    if (this.#transactions > 0) {
      this.#journal.push(() => {
        this.#size = size
        putMember(object, key, old)
      })
    }
  }

  /** Adds a member (`old` is undefined) or removes it (`value` is undefined). */
  #changeMembers (object: Members, key: string, old: unknown, value: unknown): void {
    const size = this.#size
    // members are counted once per object; inserting the object walked it anyway
    const count = this.#counts.get(object) ?? countMembers(object)
    const step = value === undefined ? -1 : 1
    const member = jsonSize(key) + 1 + jsonSize(value === undefined ? old : value)
    this.#size += step * member + commas(count + step) - commas(count)
    this.#counts.set(object, count + step)
    if (this.#transactions === 0) {
      if (value === undefined) delete object[key]
      else putMember(object, key, value)
      return
    }

    let order: string[] | undefined
    if (value === undefined) {
      this.#leftBehind.push([object, key])
    } else if (Object.hasOwn(object, key)) { // removed in this transaction: it is added again as the last member
      order = Object.keys(object)
      this.#spend(PER_NAME * order.length)
      delete object[key]
    }
    putMember(object, key, value)
    this.#journal.push(() => {
      this.#size = size
      this.#counts.set(object, count)
      if (value === undefined) putMember(object, key, old)
      else delete object[key]
      if (order !== undefined) leaveBehindIn(order, object, key)
    })
  }

  /** Like Array.prototype.splice, with any number of items. @returns the removed elements */
  splice (array: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
    const size = this.#size
    const removed = this.#spliceAll(array, start, deleteCount, items)
    if (this.#transactions > 0) {
      this.#journal.push(() => {
        this.#size = size
        this.#spliceAll(array, start, items.length, removed)
      })
    }
    this.#size += commas(array.length) - commas(array.length + removed.length - items.length)
    for (const item of items) this.#size += jsonSize(item)
    for (const item of removed) this.#size -= jsonSize(item)
    // an insertion or a removal moves every later element
    if (items.length !== removed.length) this.#spend(array.length - start)
    return removed
  }

  #spliceAll (array: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
    this.sources.splice(array, start, deleteCount, items.length)
    return spliceAll(array, start, deleteCount, items)
  }

  weigh (value: unknown, depth: number): void {
    if (this.#limits === undefined) return
    if (depth + jsonDepth(value) > this.#limits.maxDepth) {
      throw coded(new RangeError(`the patch nests more than ${this.#limits.maxDepth} objects and arrays`), 'TOO_DEEP')
    }
    this.#spend(jsonSize(value))
  }

  #spend (bytes: number): void {
    this.#work += bytes
    if (this.#limits !== undefined && this.#work > this.#limits.maxWork) {
      throw coded(new RangeError(`the patch moves or copies more than ${this.#limits.maxWork} bytes`), 'LIMIT_EXCEEDED')
    }
  }
}

function commas (count: number): number {
  return count > 1 ? count - 1 : 0
}

function spliceAll (array: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
  // arguments are passed on the stack, which overflows at about 100,000 of them
  if (items.length < 1000) return array.splice(start, deleteCount, ...items)
  const tail = array.splice(start)
  const removed = tail.splice(0, deleteCount)
  for (const item of items) array.push(item)
  for (const item of tail) array.push(item)
  return removed
}

/** Puts `key` back at its place in `order`, as undefined, by moving all later members behind it again. */
function leaveBehindIn (order: string[], object: Members, key: string): void {
  for (const name of order.slice(order.indexOf(key))) {
    const value = name === key ? undefined : object[name]
    delete object[name]
    putMember(object, name, value)
  }
}
