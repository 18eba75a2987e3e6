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
