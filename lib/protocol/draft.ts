import { type ArrayEditor, arrayMethods } from './array-methods.js'
import { diff } from './diff.js'
import type { Document } from './document.js'
import { coded } from './errors.js'
import { clonePlain, type Container, copyJson, getMember, isContainer, type Members } from './json.js'
import type { Operation } from './messages.js'
import { escapeToken, parseIndex } from './pointer.js'

/** How many elements an assignment past the end of an array, or to its length, may add. */
const MAX_GAP = 1_000_000

/** Asked for this member, a draft gives the plain container behind it. */
const PLAIN = Symbol('plain')

/**
 * Runs a recipe on a draft of the document's value and gives the operations (add, remove, replace)
 * that do what the recipe did. The document itself is afterwards exactly as it was, also where the
 * recipe throws. The cost is that of the edits, whatever the size of the value.
 *
 * @param recipe changes the draft that it gets, or returns a new value; synchronous. What is written
 *   into a draft is copied. A value that is no object or array comes as it is, no value as undefined.
 * @param maxDepth how many containers may be inside each other
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP` from a write, as `copyJson`
 * @throws TypeError `ASYNC_RECIPE` where it returns a promise; `RECIPE_RETURNED` where it changes the
 *   draft and returns a value as well; `DRAFT_REVOKED` from every use of a draft after its recipe
 */
export function record<T = unknown> (document: Document, recipe: (draft: T) => unknown, maxDepth: number): Operation[] {
  const recording = new Recording(document, maxDepth)
  const { value } = document
  const draft = isContainer(value) ? recording.draftOf(value) : value
  const mark = document.mark()
  try {
    const result = recipe(draft as T)
    if (isThenable(result)) {
      result.then(undefined, () => {}) // its failure is ours to report, below
      throw coded(new TypeError('a recipe must be synchronous: await before the update, not inside it'), 'ASYNC_RECIPE')
    }
    if (result === undefined || result === draft) return recording.patches
    if (recording.edited) {
      throw coded(new TypeError('a recipe must either change the draft or return a new value, not both: ' +
        'write (draft) => { draft.a = 1 } with braces'), 'RECIPE_RETURNED')
    }
    return diff(value, result, maxDepth)
  } finally {
    recording.revoke()
    document.rollback(mark)
  }
}

function isThenable (value: unknown): value is PromiseLike<unknown> {
  return isContainer(value) && typeof (value as Members).then === 'function'
}

/** A container that was drafted, and where it was last seen. */
interface Node {
  readonly target: Container
  readonly draft: Container
  readonly parent: Node | undefined
  key: string | number
}

/** The traps of all drafts of one recording, and what they recorded. */
class Recording implements ProxyHandler<Container>, ArrayEditor {
  readonly patches: Operation[] = []
  /** Whether the recipe wrote at all, even what was there already. */
  edited = false
  readonly #document: Document
  readonly #maxDepth: number
  readonly #nodes = new Map<Container, Node>()

  constructor (document: Document, maxDepth: number) {
    this.#document = document
    this.#maxDepth = maxDepth
  }

  draftOf (target: Container, parent?: Node, key: string | number = ''): Container {
    let node = this.#nodes.get(target)
    if (node === undefined) {
      node = { target, parent, key, draft: new Proxy(target, this) }
      this.#nodes.set(target, node)
    } else {
      node.key = key
    }
    return node.draft
  }

  revoke (): void {
    Object.setPrototypeOf(this, REVOKED)
  }

  // What a recipe can do to a draft: the traps.

  get (target: Container, key: string | symbol): unknown {
    if (key === PLAIN) return target
    if (typeof key === 'symbol') return Reflect.get(target, key)
    if (Array.isArray(target) && arrayMethods.has(key)) return this.#arrayMethod(target, key)
    const value = getMember(target, key)
    // an inherited method; the prototype itself is not to be had, as it could be written to
    if (value === undefined) return key === '__proto__' ? undefined : Reflect.get(Object.getPrototypeOf(target), key)
    return this.#drafted(target, key, value)
  }

  has (target: Container, key: string | symbol): boolean {
    if (Object.hasOwn(target, key) && (target as Members)[key as string] !== undefined) return true
    return Reflect.has(Object.getPrototypeOf(target), key)
  }

  ownKeys (target: Container): (string | symbol)[] {
    return Reflect.ownKeys(target).filter(key => (target as Members)[key as string] !== undefined)
  }

  getOwnPropertyDescriptor (target: Container, key: string | symbol): PropertyDescriptor | undefined {
    const descriptor = Reflect.getOwnPropertyDescriptor(target, key)
    if (descriptor?.value === undefined) return undefined
    descriptor.value = this.#drafted(target, key as string, descriptor.value)
    return descriptor
  }

  set (target: Container, key: string | symbol, value: unknown): boolean {
    if (typeof key === 'symbol') throw unfit(`a member called ${String(key)}`)
    this.edited = true
    if (!Array.isArray(target)) this.#setMember(target, key, value)
    else if (key === 'length') this.#setLength(target, value)
    else this.#setElement(target, key, value)
    return true
  }

  deleteProperty (target: Container, key: string | symbol): boolean {
    if (typeof key === 'symbol') return true
    this.edited = true
    if (!Array.isArray(target)) this.#setMember(target, key, undefined)
    else if (Object.hasOwn(target, key)) this.#setElement(target, key, null)
    return true
  }

  defineProperty (target: Container, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (!('value' in descriptor)) throw unfit('an accessor')
    return this.set(target, key, descriptor.value)
  }

  setPrototypeOf (): boolean { throw unfit('a prototype') }

  preventExtensions (): boolean { throw unfit('a frozen or sealed object') }

  // What the traps do to the document.

  /** The draft of a child, or the child itself where it is a scalar. */
  #drafted (target: Container, key: string, value: unknown): unknown {
    return isContainer(value) ? this.draftOf(value, this.#nodes.get(target), key) : value
  }

  #setMember (target: Members, key: string, value: unknown): void {
    const old = getMember(target, key)
    if (this.#isDraftOf(old, value)) return
    const path = this.#path(this.#nodes.get(target)!)
    const copy = value === undefined ? undefined : this.#copy(value, path, key)
    if (copy === old) return
    this.#document.put(target, key, copy)
    if (copy === undefined) this.#record('remove', path, key)
    else this.#record(old === undefined ? 'add' : 'replace', path, key, copy)
  }

  #setElement (target: unknown[], key: string, value: unknown): void {
    const index = parseIndex(key)
    if (index < 0) throw unfit(`a member of an array called ${JSON.stringify(key)}`)
    if (index >= target.length) {
      this.#splice(target, target.length, 0, [...nulls(index - target.length), value])
      return
    }
    const old = target[index]
    if (!this.#isDraftOf(old, value) && (isContainer(old) || old !== value)) this.#splice(target, index, 1, [value])
  }

  #setLength (target: unknown[], value: unknown): void {
    const length = Number(value)
    if (length !== length >>> 0) throw coded(new RangeError('Invalid array length'), 'INVALID_JSON')
    const { length: old } = target
    if (length < old) this.#splice(target, length, old - length, [])
    else if (length > old) this.#splice(target, old, 0, nulls(length - old))
  }

  #arrayMethod (target: unknown[], name: string): (...args: unknown[]) => unknown {
    return (...args) => {
      if (!(this instanceof Recording)) throw revoked()
      this.edited = true
      return arrayMethods.get(name)!(this, target, args)
    }
  }

  splice (target: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
    const node = this.#nodes.get(target)
    return this.#splice(target, start, Math.min(deleteCount, target.length - start), items)
      .map((value, i) => isContainer(value) ? this.draftOf(value, node, start + i) : value)
  }

  #splice (target: unknown[], start: number, deleteCount: number, items: unknown[]): unknown[] {
    const path = this.#path(this.#nodes.get(target)!)
    const copies = items.map((item, i) => this.#copy(item, path, start + i))
    const removed = this.#document.splice(target, start, deleteCount, copies)
    // emptying an array is one operation and not one per element
    if (target.length === 0 && deleteCount > 1) {
      this.#record('replace', path, undefined, [])
      return removed
    }
    const common = Math.min(deleteCount, copies.length)
    for (let i = 0; i < common; i++) this.#record('replace', path, start + i, copies[i])
    for (let i = deleteCount - 1; i >= common; i--) this.#record('remove', path, start + i)
    for (let i = common; i < copies.length; i++) this.#record('add', path, start + i, copies[i])
    return removed
  }

  reorder (target: unknown[], change: (drafts: unknown[]) => void): unknown[] {
    const node = this.#nodes.get(target)!
    const drafts = Array.from(node.draft as unknown[])
    change(drafts)
    const elements = drafts.map(plain)
    if (elements.some((element, i) => element !== target[i])) {
      this.#document.reorder(target, elements)
      this.#record('replace', this.#path(node), undefined, target)
    }
    return node.draft as unknown[]
  }

  /** A write of what is already there: it must not detach the draft that is being written. */
  #isDraftOf (target: unknown, value: unknown): boolean {
    return isContainer(value) && isContainer(target) && this.#nodes.get(target)?.draft === value
  }

  /** Where a container is now, or undefined where it has left the value. Arrays may have moved it. */
  #path (node: Node): string | undefined {
    const { parent, target } = node
    if (parent === undefined) return ''
    const path = this.#path(parent)
    if (path === undefined) return undefined
    if ((parent.target as Members)[node.key] !== target) {
      const index = Array.isArray(parent.target) ? parent.target.indexOf(target) : -1
      if (index === -1) return undefined
      node.key = index
    }
    return `${path}/${escapeToken(node.key)}`
  }

  #copy (value: unknown, parentPath = '', key: string | number): unknown {
    const path = `${parentPath}/${escapeToken(key)}`
    if (!isContainer(value)) return copyJson(value, 0, path)
    return copyJson(plain(value), this.#maxDepth - (path.split('/').length - 1), path)
  }

  /** What is written into a container that has left the value concerns nobody. */
  #record (op: 'add' | 'replace' | 'remove', parentPath: string | undefined, key: string | number | undefined, value?: unknown): void {
    if (parentPath === undefined) return
    const path = key === undefined ? parentPath : `${parentPath}/${escapeToken(key)}`
    // a copy, as later edits go to the value in the document
    this.patches.push(op === 'remove' ? { op, path } : { op, path, value: clonePlain(value) })
  }
}

/** The container behind a draft; anything else as it is. */
function plain (value: unknown): unknown {
  return isContainer(value) ? (value as { [PLAIN]?: unknown })[PLAIN] ?? value : value
}

function nulls (count: number): null[] {
  if (count > MAX_GAP) throw coded(new RangeError(`an array cannot be extended by more than ${MAX_GAP} elements at once`), 'LIMIT_EXCEEDED')
  return new Array(count).fill(null)
}

function unfit (what: string): Error {
  return coded(new TypeError(`JSON cannot hold ${what}: a draft takes what JSON has, and nothing else`), 'INVALID_JSON')
}

function revoked (): Error {
  return coded(new TypeError('this draft was used after its recipe returned: ' +
    'copy what is needed later, inside the recipe'), 'DRAFT_REVOKED')
}

/** Every trap there is, under the names that Reflect has for them. */
const REVOKED = Object.fromEntries(Object.getOwnPropertyNames(Reflect).map(trap => [trap, () => { throw revoked() }]))
