import { types } from 'node:util'
import { messageOf } from '../protocol/errors.js'
import { escapeToken } from '../protocol/pointer.js'

const MAX_DEPTH = 100

/** Clones a value for another thread. @returns the copy, or the reason why it cannot be cloned */
export function tryClone (value: unknown): { copy?: unknown, why?: string } {
  if (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol') return { copy: value }
  try {
    const why = whyNotCloneable(value)
    return why === undefined ? { copy: structuredClone(value) } : { why }
  } catch (error) {
    return { why: messageOf(error) } // a getter that throws, a detached buffer
  }
}

/**
 * The reason, with the path, why a structured clone would fail or lose data; undefined if the value is cloneable.
 * Cloneable: plain objects, arrays, Map, Set, Date, RegExp, JavaScript's own errors, ArrayBuffers and their views,
 * and primitives except symbols. Not cloneable: functions, instances of other classes (such as Buffer), and errors
 * with extra members; the clone would be another kind of object.
 */
export function whyNotCloneable (value: unknown): string | undefined {
  return new Search().look(value, '', 0)
}

/** Prototypes that a structured clone keeps. */
const CLONED = new Set<object>([
  Object, Array, Map, Set, Date, RegExp, Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError,
  Number, String, Boolean, BigInt, ArrayBuffer, SharedArrayBuffer, DataView, Int8Array, Uint8Array, Uint8ClampedArray,
  Int16Array, Uint16Array, Int32Array, Uint32Array, Float32Array, Float64Array, BigInt64Array, BigUint64Array
].map(({ prototype }) => prototype as object))

class Search {
  readonly #seen = new Set<object>()

  look (value: unknown, path: string, depth: number): string | undefined {
    if (typeof value === 'function' || typeof value === 'symbol') return describe(path, `a ${typeof value}`)
    if (typeof value !== 'object' || value === null || this.#seen.has(value)) return undefined
    if (types.isProxy(value)) return describe(path, 'a Proxy')
    this.#seen.add(value)
    if (depth > MAX_DEPTH) return describe(path, `nested deeper than ${MAX_DEPTH} levels`)
    const prototype = Object.getPrototypeOf(value) as object | null
    if (prototype !== null && !CLONED.has(prototype)) return describe(path, `an instance of ${nameOf(prototype)}`)
    if (value instanceof Map || value instanceof Set) return this.#each(value instanceof Map ? [...value].flat() : [...value], path, depth)
    if (Array.isArray(value)) return this.#each(value, path, depth)
    if (value instanceof Error && Object.keys(value).length > 0) return describe(path, `an error with members of its own: ${Object.keys(value).join(', ')}`)
    if (value instanceof Date || value instanceof RegExp || value instanceof Error) return undefined
    if (types.isAnyArrayBuffer(value) || ArrayBuffer.isView(value)) return undefined
    for (const key of Object.keys(value)) {
      const why = this.look((value as Record<string, unknown>)[key], `${path}/${escapeToken(key)}`, depth + 1)
      if (why !== undefined) return why
    }
    return undefined
  }

  #each (values: Iterable<unknown>, path: string, depth: number): string | undefined {
    let i = 0
    for (const value of values) {
      const why = this.look(value, `${path}/${i++}`, depth + 1)
      if (why !== undefined) return why
    }
    return undefined
  }
}

function nameOf (prototype: object): string {
  const { constructor } = prototype as { constructor?: { name?: unknown } }
  return typeof constructor?.name === 'string' && constructor.name !== '' ? constructor.name : 'a class'
}

function describe (path: string, what: string): string {
  return path === '' ? `the value is ${what}` : `the value at ${path} is ${what}`
}
