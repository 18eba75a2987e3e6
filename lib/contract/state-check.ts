import { clonePlain } from '../protocol/json.js'
import { type Compile, type Issue, type SyncCheck, checkOf, syncCheckOf } from './check.js'
import { escapeSegment, localized, resolveLocal, rooted, segmentsOf } from './json-schema.js'
import { type Schema, standardOf } from './schema.js'

/**
 * Returns the issues of a value; undefined if it is valid.
 * @param changed JSON Pointers of the places that differ from a valid value. Default: the whole value may differ
 */
export type StateCheck = (value: unknown, changed?: readonly string[]) => readonly Issue[] | undefined

/** Places beyond which the whole value is looked at. */
const MAX_PLACES = 64

/** Compiled parts of a schema that are kept. */
const MAX_PARTS = 256

/** References that are followed one after the other. */
const MAX_REFERENCES = 32

/** Keywords of a container that say nothing of how its members go together, or that are looked at here. */
const SEPARABLE = new Set(['type', 'properties', 'required', 'additionalProperties', 'items', 'minItems', 'maxItems', 'minProperties', 'maxProperties', 'title', 'description', 'default', 'examples', 'definitions', '$defs', '$schema', '$comment', 'readOnly', 'writeOnly', 'deprecated'])

type Node = Record<string, unknown>

/**
 * The check of a state value, in which members that are `undefined` count as removed. A JSON Schema is checked where the value has changed, at a cost that follows the
 * change; a Standard Schema looks at the whole value.
 */
export function stateCheckOf (schema: Schema, where: string, compile: Compile): StateCheck | undefined {
  const whole = syncCheckOf(schema, where, compile)
  if (whole === undefined) return undefined
  const all: StateCheck = (value) => whole(clonePlain(value))?.issues
  // libraries pass over a member of this name, and it would be stored unseen
  if (standardOf(schema) !== undefined) return (value) => hasProto(value) ? [{ path: '', message: 'has a member named __proto__' }] : all(value)
  const parts = new SchemaParts(localized(schema) as Node, where, compile)
  return (value, changed) => {
    if (changed === undefined || changed.length > MAX_PLACES) return all(value)
    for (const place of changed) {
      // of several operations the later ones may have moved what the earlier ones put into an array
      const found = parts.check(value, place, changed.length > 1)
      if (found === 'unknown') return all(value)
      if (found !== undefined) return found
    }
    return undefined
  }
}

/** The parts of a JSON Schema, each compiled when it is first needed. */
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
   * The issues of a place, and of the container that it is in; `unknown` if only the whole value tells.
   * @param isMoved whether an element may be elsewhere by now, so that its array is looked at as a whole
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

  /** A place in the schema, once references are followed. */
  #resolve (pointer: string): { node: unknown, pointer: string } | undefined {
    for (let i = 0; i < MAX_REFERENCES; i++) {
      const node = resolveLocal(this.#schema, `#${pointer}`)
      const reference = (node as Node | undefined)?.$ref
      if (reference === undefined) return { node, pointer }
      if (Object.keys(node as Node).length > 1) return undefined // Ajv looks at the keywords beside a reference, too
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

/** Checks a container's own keywords, which an added or removed member can break. */
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
