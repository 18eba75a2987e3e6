import { coded } from './errors.js'
import { escapeToken } from './pointer.js'

export type Members = Record<string, unknown>
export type Container = Members | unknown[]

export function isContainer (value: unknown): value is Container {
  return typeof value === 'object' && value !== null
}

/** The own member `key`, or undefined. Members of the prototype are not data. */
export function getMember (object: object, key: string): unknown {
  const value = (object as Members)[key]
  return value === undefined || Object.hasOwn(object, key) ? value : undefined
}

/** Sets an own member of any name. An assignment to `__proto__` would set the prototype. */
export function putMember (object: Members, key: string, value: unknown): void {
  if (key === '__proto__') Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
  else object[key] = value
}

// The functions below treat an undefined member as absent, as JSON.stringify does.

/** A copy of plain JSON. */
export function clonePlain<T> (value: T): T
export function clonePlain (value: unknown): unknown {
  if (!isContainer(value)) return value
  if (Array.isArray(value)) {
    const copy: unknown[] = []
    for (let i = 0; i < value.length; i++) copy.push(clonePlain(value[i]))
    return copy
  }
  const copy: Members = {}
  for (const key of Object.keys(value)) {
    const member = value[key]
    if (member !== undefined) putMember(copy, key, clonePlain(member))
  }
  return copy
}

/** Whether two plain JSON values are equal. The order of members does not matter. */
export function isEqual (a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (!isContainer(a) || !isContainer(b)) return false
  if (Array.isArray(a) || Array.isArray(b)) {
    if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!isEqual(a[i], b[i])) return false
    return true
  }
  for (const key of Object.keys(a)) if (!isEqual(a[key], getMember(b, key))) return false
  return countMembers(a) === countMembers(b)
}

export function countMembers (object: Members): number {
  let count = 0
  for (const key of Object.keys(object)) if (object[key] !== undefined) count++
  return count
}

/** The nesting depth: 0 for a scalar, 1 for `[]`. */
export function jsonDepth (value: unknown): number {
  if (!isContainer(value)) return 0
  let deepest = 0
  for (const child of Array.isArray(value) ? value : Object.values(value)) {
    if (isContainer(child)) deepest = Math.max(deepest, jsonDepth(child))
  }
  return deepest + 1
}

/**
 * The JSON text of a user's value, by the rules of `copyJson`. It throws for values that JSON cannot represent, where
 * JSON.stringify would omit them or write null.
 *
 * @param maxDepth maximum nesting depth
 * @param path the value's place in the whole value, as a JSON Pointer, for error messages
 * @returns undefined for undefined
 * @throws TypeError `INVALID_JSON` for a value that JSON cannot represent; the message names its path
 * @throws RangeError `TOO_DEEP`
 */
export function stringify (value: unknown, maxDepth = DEEPEST, path = ''): string | undefined {
  // a plain value needs no copy, and the check costs a fraction of one
  if (value === undefined || isPlain(value, maxDepth)) return JSON.stringify(value)
  return JSON.stringify(copyJson(value, maxDepth, path))
}

/** The maximum of the option `maxJsonDepth`. */
const DEEPEST = 1000

/** Whether JSON.stringify keeps the whole value. May be false for a value that needs a closer check. */
function isPlain (value: unknown, depth: number): boolean {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth === 0 || (value as Members).toJSON !== undefined) return false
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) if (!isPlain(value[i], depth - 1)) return false
    return true
  }
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  for (const key in value) {
    const member = (value as Members)[key]
    if (member !== undefined && !isPlain(member, depth - 1)) return false
  }
  return true
}

/**
 * Makes a plain copy, which the caller owns, by the rules of JSON.stringify.
 *
 * @param value anything; `toJSON` is called, `undefined` members are left out, boxed primitives are
 *   unwrapped, other objects count as their own enumerable members
 * @param maxDepth maximum nesting depth
 * @param path the value's place in the whole value, as a JSON Pointer, for error messages
 * @throws TypeError `INVALID_JSON` for a value that JSON cannot represent; the message names its path
 * @throws RangeError `TOO_DEEP`
 */
export function copyJson (value: unknown, maxDepth: number, path = ''): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value
  if (Number.isFinite(value)) return (value as number) + 0
  const walk = new JsonWalk(maxDepth, path)
  return walk.copy(walk.resolve(value, true))
}

/** A walk over a user's value. It tracks the current path, and resolves values by the rules of JSON.stringify. */
export class JsonWalk {
  readonly #base: string
  readonly #maxDepth: number
  /** The containers from the root to the current place, and the key followed in each. */
  readonly #containers: Container[] = []
  readonly #keys: (string | number)[] = []
  #depth = 0
  readonly #drafts: { get (container: object): { settled (): Container } | undefined } | undefined

  /** @param drafts finds the draft of a container in the value, whose settled value is used instead */
  constructor (maxDepth: number, base = '', drafts?: { get (container: object): { settled (): Container } | undefined }) {
    this.#maxDepth = maxDepth
    this.#base = base
    this.#drafts = drafts
  }

  /** Nesting depth that is still allowed at the current place. */
  get room (): number { return this.#maxDepth - this.#depth }

  get isAtRoot (): boolean { return this.#depth === 0 }

  /** Enters a container. Each `enter` needs a `leave`. */
  enter (container: Container): void {
    if (this.#depth >= this.#maxDepth) throw this.#tooDeep(container)
    this.#containers[this.#depth] = container
    this.#depth++
  }

  /** Moves to the child `key` of the container entered last. */
  at (key: string | number): void {
    this.#keys[this.#depth - 1] = key
  }

  leave (): void {
    this.#depth--
  }

  /** The current place of the walk, as a JSON Pointer. */
  path (depth = this.#depth): string {
    let path = this.#base
    for (let i = 0; i < depth; i++) path += '/' + escapeToken(this.#keys[i]!)
    return path
  }

  /**
   * Resolves the value at the current place as JSON.stringify does.
   * @param required whether to refuse undefined, as at the root and in arrays
   * @returns a scalar, or a container with unresolved children; undefined for a member to omit
   */
  resolve (value: unknown, required: boolean): unknown {
    switch (typeof value) {
      case 'string':
      case 'boolean':
        return value
      case 'number':
        if (!Number.isFinite(value)) throw this.#invalid(String(value))
        return value + 0 // turns -0 into 0
      case 'undefined':
        if (required) throw this.#invalid('undefined')
        return undefined
      case 'object':
        return value === null ? null : this.#resolveObject(this.#drafts?.get(value)?.settled() ?? value, required)
      default:
        throw this.#invalid(`a ${typeof value}`)
    }
  }

  #resolveObject (value: object, required: boolean): unknown {
    if (isOrdinary(value) && typeof (value as Members).toJSON !== 'function') return value
    // Buffer has a toJSON that would silently turn bytes into an array of numbers
    if (ArrayBuffer.isView(value)) throw this.#invalid(`a ${value.constructor.name}`)
    if (typeof (value as Members).toJSON === 'function') {
      const key = this.#depth === 0 ? '' : String(this.#keys[this.#depth - 1])
      const replacement: unknown = (value as { toJSON (key: string): unknown }).toJSON(key)
      if (!isContainer(replacement)) return this.resolve(replacement, required)
      value = replacement
    }
    if (Array.isArray(value) || isOrdinary(value)) return value
    // unlike instanceof, the tag also recognizes objects of another realm
    const tag = Object.prototype.toString.call(value).slice(8, -1)
    if (tag === 'Number') return this.resolve(Number(value), required)
    if (tag === 'String') return String(value)
    if (tag === 'Boolean') return Boolean.prototype.valueOf.call(value)
    if (UNFIT.has(tag) || ArrayBuffer.isView(value)) throw this.#invalid(`a ${tag}`)
    return value
  }

  /** A plain copy of the resolved value at the current place. */
  copy (resolved: unknown): unknown {
    if (!isContainer(resolved)) return resolved
    this.enter(resolved)
    let copy: Container
    if (Array.isArray(resolved)) {
      copy = []
      for (let i = 0; i < resolved.length; i++) {
        this.at(i)
        copy.push(this.copy(this.resolve(resolved[i], true)))
      }
    } else {
      copy = {}
      for (const key of Object.keys(resolved)) {
        this.at(key)
        const member = this.resolve(resolved[key], false)
        if (member !== undefined) putMember(copy, key, this.copy(member))
      }
    }
    this.leave()
    return copy
  }

  #invalid (what: string, path = this.path()): Error {
    return coded(new TypeError(`JSON cannot hold ${what}, found at ${JSON.stringify(path)}: ` +
      'give plain objects, arrays, strings, finite numbers, booleans or null'), 'INVALID_JSON')
  }

  /** Looks for a cycle only here, when the depth is exceeded, so that valid values do not pay for the check. */
  #tooDeep (container: Container): Error {
    const line = [...this.#containers.slice(0, this.#depth), container]
    const repeated = line.findIndex((ancestor, i) => line.indexOf(ancestor) < i)
    if (repeated !== -1) return this.#invalid('a cycle', this.path(repeated))
    return coded(new RangeError(`more than ${this.#maxDepth} nested objects and arrays, at ${JSON.stringify(this.path())}: ` +
      'raise maxJsonDepth'), 'TOO_DEEP')
  }
}

function isOrdinary (value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null
}

/** Tags of objects for which JSON.stringify would lose the data and write `{}`, or throw. */
const UNFIT = new Set(['Map', 'Set', 'WeakMap', 'WeakSet', 'WeakRef', 'Promise', 'ArrayBuffer',
  'SharedArrayBuffer', 'DataView', 'BigInt', 'Symbol'])
