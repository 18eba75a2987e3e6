import type { Operation } from '../../protocol/messages.js'

/** The last segment may be an array index. Inserting or removing an element moves all later ones. */
const ELEMENT = /\/(?:-|0|[1-9]\d*)$/

/**
 * The places that operations touch, as JSON Pointers. Reading a place (`test`, `copy`) touches it, too. Adding or
 * removing an element of an array touches the whole array.
 */
export function * pathsOf (operations: Iterable<Operation>): Iterable<string> {
  for (const operation of operations) {
    const { op, path } = operation
    yield op === 'replace' || op === 'test' ? path : place(path)
    if (op === 'move') yield place(operation.from)
    else if (op === 'copy') yield operation.from
  }
}

function place (path: string): string {
  return ELEMENT.test(path) ? path.slice(0, path.lastIndexOf('/')) : path
}

/** A set of touched places. Two places overlap if they are the same, or one contains the other. */
export class TouchedPaths {
  readonly #touched = new Set<string>()
  readonly #above = new Set<string>()

  add (operations: Iterable<Operation>): void {
    for (const path of pathsOf(operations)) {
      this.#touched.add(path)
      for (const ancestor of ancestorsOf(path)) {
        if (this.#above.has(ancestor)) break
        this.#above.add(ancestor)
      }
    }
  }

  /** A place of these operations that overlaps with a touched one; undefined if there is none. */
  meets (operations: Iterable<Operation>): string | undefined {
    for (const path of pathsOf(operations)) {
      if (this.#touched.has(path) || this.#above.has(path)) return path
      for (const ancestor of ancestorsOf(path)) if (this.#touched.has(ancestor)) return path
    }
    return undefined
  }
}

/** The pointers above a path, from the nearest to the root. */
function * ancestorsOf (path: string): Iterable<string> {
  for (let end = path.lastIndexOf('/'); end >= 0; end = end === 0 ? -1 : path.lastIndexOf('/', end - 1)) yield path.slice(0, end)
}
