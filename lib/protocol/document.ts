import { coded } from './errors.js'
import { type Container, countMembers, getMember, jsonDepth, jsonSize, type Members, putMember } from './json.js'
import type { Operation } from './messages.js'
import { type Editor, runPatch } from './patch.js'

/** Bounds for a patch that comes from outside. */
export interface PatchLimits {
  /** How many containers may be inside each other afterwards. */
  maxDepth: number
  /**
   * Bytes that the operations may insert, move, copy and compare together, mostly of JSON. A short patch can
   * copy a large value often; this bounds its time, and what the value can grow by.
   */
  maxWork: number
}

/** Bytes that it takes to remember a member's place among the others, for each of these. */
const PER_NAME = 8

/**
 * One JSON value that is edited in place, and knows its exact size without being walked: what an edit
 * costs is the size of what it inserts or removes, and not of what is beside it.
 *
 * Inside a transaction (`mark` to `rollback` or `release`) every edit can be undone. A member that is
 * removed there stays behind as undefined until the transaction is released, as taking it out would
 * lose its place among the others; JSON.stringify and the functions of json.ts see it as absent.
 */
export class Document implements Editor {
  /** The value is its member ''. For patches only. */
  readonly holder: Members = {}
  /** The size of `holder`. */
  #size = 2
  /** How many members an object has, once it was asked: a first or last member brings no comma. */
  readonly #counts = new WeakMap<Members, number>()
  #journal: (() => void)[] = []
  #leftBehind: [object: Members, key: string][] = []
  #transactions = 0
  #limits: PatchLimits | undefined
  #work = 0

  /**
   * @param value plain JSON, which the document owns from now on; undefined for none
   * @param isSized false where nobody will ask for the size: the value is not walked then
   */
  constructor (value?: unknown, isSized = true) {
    if (isSized) this.set(value)
    else if (value !== undefined) this.holder[''] = value
  }

  /** The live value, or undefined. Not to be changed from outside, nor kept. */
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
   * Applies a JSON Patch in place, all of it or nothing. The values of its operations become part of
   * the document: who needs them afterwards encodes or copies them first.
   * @param limits for patches from outside
   * @throws PatchError where it does not apply
   * @throws RangeError `TOO_DEEP`, `LIMIT_EXCEEDED`: beyond the limits
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

  /** Starts a transaction, or one inside another; it ends with `rollback` or `release`. */
  mark (): number {
    this.#transactions++
    return this.#journal.length
  }

  /** Undoes what was done since `mark`, key order included, and ends that transaction. */
  rollback (mark: number): void {
    while (this.#journal.length > mark) this.#journal.pop()!()
    this.#endTransaction()
  }

  /** Keeps what was done, and ends the transaction. */
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

  open (_parent: Container, _key: string | number, child: Container): Container {
    return child
  }

  /** Sets a member; undefined removes it. */
  put (object: Members, key: string, value: unknown): void {
    const old = getMember(object, key)
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

  /** A member comes (`old` is undefined) or goes (`value` is). */
  #changeMembers (object: Members, key: string, old: unknown, value: unknown): void {
    const size = this.#size
    // counted once per object, which had to be walked anyway when it came in
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
    } else if (Object.hasOwn(object, key)) { // removed in this transaction: comes back as the last one
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

  /** As Array.prototype.splice, without its bound on the number of items; gives what it removed. */
  splice (array: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
    const size = this.#size
    const removed = spliceAll(array, start, deleteCount, items)
    if (this.#transactions > 0) {
      this.#journal.push(() => {
        this.#size = size
        spliceAll(array, start, items.length, removed)
      })
    }
    this.#size += commas(array.length) - commas(array.length + removed.length - items.length)
    for (const item of items) this.#size += jsonSize(item)
    for (const item of removed) this.#size -= jsonSize(item)
    // an insertion moves all that is behind it
    if (items.length !== removed.length) this.#spend(array.length - start)
    return removed
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
  // arguments live on the stack: some 100,000 of them overflow it
  if (items.length < 1000) return array.splice(start, deleteCount, ...items)
  const tail = array.splice(start)
  const removed = tail.splice(0, deleteCount)
  for (const item of items) array.push(item)
  for (const item of tail) array.push(item)
  return removed
}

/** Gives `key` its place in `order` back, as undefined, by moving all that come after it to the end again. */
function leaveBehindIn (order: string[], object: Members, key: string): void {
  for (const name of order.slice(order.indexOf(key))) {
    const value = name === key ? undefined : object[name]
    delete object[name]
    putMember(object, name, value)
  }
}
