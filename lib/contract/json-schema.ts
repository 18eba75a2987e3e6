/** Moves a JSON Schema to the pointer `root` of a larger one, by rewriting its local references. */
export function rooted (node: unknown, root: string): unknown {
  if (Array.isArray(node)) return node.map((each) => rooted(each, root))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, name === '$ref' && typeof value === 'string' && value.startsWith('#') ? root + value.slice(1) : rooted(value, root)]))
}

/** Escapes a segment of a JSON Pointer (RFC 6901 section 3). */
export function escapeSegment (segment: string): string {
  return segment.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** The unescaped segments of a JSON Pointer. */
export function segmentsOf (pointer: string): string[] {
  return pointer.split('/').slice(1).map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** Resolves a local reference (`#`, `#/definitions/a`) to a node of the schema; undefined for any other reference. */
export function resolveLocal (root: unknown, reference: string): unknown {
  if (!/^#(\/|$)/.test(reference)) return undefined
  let at = root
  for (const segment of segmentsOf(decodeURIComponent(reference.slice(1)))) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, segment)) return undefined
    at = (at as Record<string, unknown>)[segment]
  }
  return at
}

/** Rewrites a schema for Fastify's compiler, which resolves no reference to a plain `$id` or to the root (`#`). */
export function compilable (schema: object): object {
  const local = localized(schema)
  if (!refersToRoot(local)) return local
  const { $id, $schema, ...root } = local as Record<string, unknown>
  return { definitions: { root: rooted(root, '#/definitions/root') }, allOf: [{ $ref: '#/definitions/root' }] }
}

function refersToRoot (node: unknown): boolean {
  return typeof node === 'object' && node !== null && ((node as { $ref?: unknown }).$ref === '#' || Object.values(node).some(refersToRoot))
}

/** An `$id` that is a plain name. TypeBox writes such ids in recursive schemas. */
const PLAIN_ID = /^[\w.-]+$/

/** Turns references to plain `$id`s into JSON Pointers; returns the same object if there are none. */
export function localized (schema: object): object {
  const places = new Map<string, string>()
  collectIds(schema, '', places)
  return places.size === 0 ? schema : withPointers(schema, places) as object
}

function collectIds (node: unknown, pointer: string, places: Map<string, string>): void {
  if (typeof node !== 'object' || node === null) return
  const { $id } = node as { $id?: unknown }
  if (typeof $id === 'string' && PLAIN_ID.test($id)) places.set($id, pointer)
  for (const [name, value] of Object.entries(node)) collectIds(value, `${pointer}/${encodeURIComponent(escapeSegment(name))}`, places)
}

function withPointers (node: unknown, places: ReadonlyMap<string, string>): unknown {
  if (Array.isArray(node)) return node.map((each) => withPointers(each, places))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(Object.entries(node)
    .filter(([name, value]) => name !== '$id' || typeof value !== 'string' || !places.has(value))
    .map(([name, value]) => [name, name === '$ref' && typeof value === 'string' && places.has(value) ? `#${places.get(value)}` : withPointers(value, places)]))
}
