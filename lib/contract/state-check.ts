import { clonePlain } from '../protocol/json.js'
import { type Compile, type Issue, type SyncCheck, checkOf, syncCheckOf } from './check.js'
import { escapeSegment, localized, resolveLocal, rooted, segmentsOf } from './json-schema.js'
import { type Schema, standardOf } from './schema.js'

/**
 * Returns the issues of a value; undefined if it is valid.
 * @param changed JSON Pointers of the places that differ from the last valid value. Default: the whole value
 */
export type StateCheck = (value: unknown, changed?: readonly string[]) => readonly Issue[] | undefined

/** Maximum number of changed places to check one by one. Beyond it the whole value is checked. */
const MAX_PLACES = 64

/** Maximum number of compiled parts of a schema to cache. */
const MAX_PARTS = 256

/** Maximum length of a chain of references. */
const MAX_REFERENCES = 32

/** Keywords that put no condition on several members together, or that this file checks itself. */
const SEPARABLE = new Set(['type', 'properties', 'required', 'additionalProperties', 'items', 'minItems', 'maxItems', 'minProperties', 'maxProperties', 'title', 'description', 'default', 'examples', 'definitions', '$defs', '$schema', '$comment', 'readOnly', 'writeOnly', 'deprecated'])

type Node = Record<string, unknown>

/**
 * Makes the check of a state value. Members that are `undefined` count as removed. A JSON Schema checks only the
 * changed places, so its cost depends on the size of the change. A Standard Schema checks the whole value.
 */
export function stateCheckOf (schema: Schema, where: string, compile: Compile): StateCheck | undefined {
  const whole = syncCheckOf(schema, where, compile)
  if (whole === undefined) return undefined
  const all: StateCheck = (value) => whole(clonePlain(value))?.issues
  // schema libraries skip a member with this name, so it would be stored unchecked
  if (standardOf(schema) !== undefined) return (value) => hasProto(value) ? [{ path: '', message: 'has a member named __proto__' }] : all(value)
  const parts = new SchemaParts(localized(schema) as Node, where, compile)
  return (value, changed) => {
    if (changed === undefined || changed.length > MAX_PLACES) return all(value)
    for (const place of changed) {
      // with several operations, a later one may have moved an array element that an earlier one wrote
      const found = parts.check(value, place, changed.length > 1)
      if (found === 'unknown') return all(value)
      if (found !== undefined) return found
    }
    return undefined
  }
}

/** The parts of a JSON Schema, each compiled at its first use. */
class SchemaParts {
  readonly #schema: Node
  readonly #where: string
  readonly #compile: Compile
  readonly #checks = new Map<string, SyncCheck | undefined>()
  #root: unknown

  constructor (schema: Node, where: string, compile: Compile) {
    this.#schema = schema
    this.#where = where
    this.#compile = compile
  }

  /**
   * The issues of a place and of its container; `unknown` if the whole value must be checked.
   * @param isMoved whether elements may have moved since, so that their whole array must be checked
   */
  check (value: unknown, place: string, isMoved: boolean): readonly Issue[] | undefined | 'unknown' {
    const segments = segmentsOf(place)
    let at: unknown = value
    let pointer = ''
    for (const [i, segment] of segments.entries()) {
      const container = this.#resolve(pointer)
      if (container === undefined || typeof at !== 'object' || at === null) return 'unknown'
      const { node } = container
      if (node === true) return undefined
      if (isMoved && Array.isArray(at)) return this.#issuesAt(pointer, at, segments.slice(0, i))
      if (!isSeparable(node)) return 'unknown'
      const isLast = i === segments.length - 1
      const problem = isLast ? containerIssue(node, at) : undefined
      if (problem !== undefined) return [{ path: pointerOf(segments.slice(0, i)), message: problem }]
      const own = Array.isArray(at) && segment === '-' ? String(at.length - 1) : segment
      if (!isThere(at, own)) return isLast ? undefined : 'unknown'
      const next = Array.isArray(at) ? memberPointer(node, container.pointer) : propertyPointer(node, own, container.pointer)
      if (next === undefined) return undefined
      at = (at as Record<string, unknown>)[own]
      pointer = next
    }
    return this.#issuesAt(pointer, at, segments)
  }

  #issuesAt (pointer: string, value: unknown, segments: readonly string[]): readonly Issue[] | undefined {
    const place = pointerOf(segments)
    return this.#checkAt(pointer)?.(clonePlain(value))?.issues?.map(({ path, message }) => ({ path: place + path, message }))
  }

  /** The node of the schema at a pointer, after following references. */
  #resolve (pointer: string): { node: unknown, pointer: string } | undefined {
    for (let i = 0; i < MAX_REFERENCES; i++) {
      const node = resolveLocal(this.#schema, `#${pointer}`)
      const reference = (node as Node | undefined)?.$ref
      if (reference === undefined) return { node, pointer }
      if (Object.keys(node as Node).length > 1) return undefined // Ajv also applies the keywords beside a reference
      if (typeof reference !== 'string' || resolveLocal(this.#schema, reference) === undefined) return undefined
      pointer = reference.slice(1)
    }
    return undefined
  }

  #checkAt (pointer: string): SyncCheck | undefined {
    if (!this.#checks.has(pointer)) {
      if (this.#checks.size >= MAX_PARTS) this.#checks.clear()
      const { $id, $schema, ...schema } = this.#schema
      this.#root ??= rooted(schema, '#/definitions/root')
      const part = { definitions: { root: this.#root }, allOf: [{ $ref: `#/definitions/root${pointer}` }] }
      this.#checks.set(pointer, checkOf(part, this.#where, this.#compile) as SyncCheck | undefined)
    }
    return this.#checks.get(pointer)
  }
}

function isSeparable (node: unknown): node is Node {
  if (typeof node !== 'object' || node === null || Array.isArray(node)) return false
  const { items } = node as Node
  return !Array.isArray(items) && Object.keys(node).every((keyword) => SEPARABLE.has(keyword))
}

/** Checks the keywords of a container that an added or removed member can violate. */
function containerIssue (node: Node, at: object): string | undefined {
  const { required, additionalProperties, properties = {}, minItems = 0, maxItems = Infinity, minProperties = 0, maxProperties = Infinity } = node as { required?: string[], additionalProperties?: unknown, properties?: object, minItems?: number, maxItems?: number, minProperties?: number, maxProperties?: number }
  if (Array.isArray(at)) {
    if (at.length < minItems) return `must NOT have fewer than ${minItems} items`
    return at.length > maxItems ? `must NOT have more than ${maxItems} items` : undefined
  }
  const missing = required?.find((name) => !isThere(at, name))
  if (missing !== undefined) return `must have required property '${missing}'`
  if (additionalProperties === false && Object.keys(at).some((name) => isThere(at, name) && !Object.hasOwn(properties, name))) return 'must NOT have additional properties'
  if (minProperties === 0 && maxProperties === Infinity) return undefined
  const count = Object.keys(at).filter((name) => isThere(at, name)).length
  if (count < minProperties) return `must NOT have fewer than ${minProperties} properties`
  return count > maxProperties ? `must NOT have more than ${maxProperties} properties` : undefined
}

function pointerOf (segments: readonly string[]): string {
  return segments.map((segment) => `/${escapeSegment(segment)}`).join('')
}

function hasProto (value: unknown): boolean {
  return typeof value === 'object' && value !== null && (Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProto))
}

function isThere (container: object, name: string): boolean {
  return Object.hasOwn(container, name) && (container as Record<string, unknown>)[name] !== undefined
}

function memberPointer ({ items }: Node, pointer: string): string | undefined {
  return items === undefined ? undefined : `${pointer}/items`
}

function propertyPointer ({ properties = {}, additionalProperties }: Node, name: string, pointer: string): string | undefined {
  if (Object.hasOwn(properties as object, name)) return `${pointer}/properties/${encodeURIComponent(escapeSegment(name))}`
  return additionalProperties === undefined ? undefined : `${pointer}/additionalProperties`
}
