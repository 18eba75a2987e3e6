/** A JSON Schema as a part of a larger one: references within it lead to where it is now. */
export function rooted (node: unknown, root: string): unknown {
  if (Array.isArray(node)) return node.map((each) => rooted(each, root))
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(Object.entries(node).map(([name, value]) => [name, name === '$ref' && typeof value === 'string' && value.startsWith('#') ? root + value.slice(1) : rooted(value, root)]))
}

/** A segment of a JSON Pointer (RFC 6901 section 3). */
export function escapeSegment (segment: string): string {
  return segment.replaceAll('~', '~0').replaceAll('/', '~1')
}

/** The segments of a JSON Pointer. */
export function segmentsOf (pointer: string): string[] {
  return pointer.split('/').slice(1).map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'))
}

/** The node of a schema that a local reference leads to (`#`, `#/definitions/a`); undefined where it leads elsewhere. */
export function resolveLocal (root: unknown, reference: string): unknown {
  if (!/^#(\/|$)/.test(reference)) return undefined
  let at = root
  for (const segment of segmentsOf(decodeURIComponent(reference.slice(1)))) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, segment)) return undefined
    at = (at as Record<string, unknown>)[segment]
  }
  return at
}

/** The schema as Fastify's compiler takes it: that resolves no reference to a plain `$id`, nor to the root (`#`). */
export function compilable (schema: object): object {
  const local = localized(schema)
  if (!refersToRoot(local)) return local
  const { $id, $schema, ...root } = local as Record<string, unknown>
  return { definitions: { root: rooted(root, '#/definitions/root') }, allOf: [{ $ref: '#/definitions/root' }] }
}

function refersToRoot (node: unknown): boolean {
  return typeof node === 'object' && node !== null && ((node as { $ref?: unknown }).$ref === '#' || Object.values(node).some(refersToRoot))
}

/** An `$id` that is a plain name, as TypeBox gives to recursive schemas. */
const PLAIN_ID = /^[\w.-]+$/

/** The schema with references to plain `$id`s within it as JSON Pointers; the same object if it has none. */
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
