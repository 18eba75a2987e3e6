import { Comparison } from './comparison.js'
import { ArrayDraft } from './draft-array.js'
import { ObjectDraft } from './draft-object.js'
import { type ContainerDraft, DRAFT, type Drafts } from './draft-container.js'
import { coded, isThenable } from './errors.js'
import { type Container, isContainer } from './json.js'
import type { Operation } from './messages.js'

/**
 * Runs a recipe on a draft of a value, and returns the changes as a patch. Inside the recipe the draft behaves like a
 * plain object, and a moved or assigned object stays the same reference. The value itself is not changed. The cost
 * depends on the edits, not on the size of the value.
 *
 * @param source holds the value: plain JSON without repeated objects, or undefined for none
 * @param recipe changes the draft, or returns a new value; synchronous. A scalar is passed as it is, a missing value
 *   as undefined. The values that it wrote are copied after it returns.
 * @param maxDepth how many containers may be inside each other
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP` if `copyJson` refuses a value that the recipe wrote
 * @throws TypeError `ASYNC_RECIPE` if the recipe returns a promise; `RECIPE_RETURNED` if it both changes the draft
 *   and returns a value; `DRAFT_REVOKED` if a draft is used after its recipe
 */
export function record<T = unknown> ({ value }: { readonly value: unknown }, recipe: (draft: T) => unknown, maxDepth: number): Operation[] {
  const recording = new Recording()
  const draft = isContainer(value) ? recording.proxyOf(value, undefined, '') : value
  try {
    const result = recipe(draft as T)
    if (isThenable(result)) {
      result.then(undefined, () => {}) // avoids an unhandled rejection; the error below is the one to report
      throw coded(new TypeError('a recipe must be synchronous: await before the update, not inside it'), 'ASYNC_RECIPE')
    }
    const isEdited = result === undefined || result === draft
    if (!isEdited && recording.hasWritten) {
      throw coded(new TypeError('a recipe must change the draft or return a new value, not both: write (draft) => { draft.a = 1 } with braces'), 'RECIPE_RETURNED')
    }
    if (isEdited && !recording.hasWritten) return []
    const comparison = new Comparison(maxDepth, recording)
    comparison.child(value, isEdited ? draft : result, true)
    return comparison.patches
  } finally {
    recording.isOver = true
  }
}

/** The drafts of one recipe. */
class Recording implements Drafts {
  hasWritten = false
  isOver = false
  readonly #drafts = new Map<object, ContainerDraft>()
  /** Objects that the recipe created and wrote into the value. They are not drafted. */
  readonly #given = new Set<object>()

  get (container: object): ContainerDraft | undefined {
    const draft = this.#drafts.get(container) ?? (container as { [DRAFT]?: ContainerDraft })[DRAFT]
    return draft?.drafts === this ? draft : undefined // the proxy may belong to another recipe that is still running
  }

  proxyOf (container: Container, parent: ContainerDraft | undefined, key: string | number): Container {
    let draft = this.#drafts.get(container)
    if (draft !== undefined) return draft.proxy
    if (this.#given.has(container)) return container
    draft = Array.isArray(container) ? new ArrayDraft(this, container, parent, key) : new ObjectDraft(this, container, parent, key)
    this.#drafts.set(container, draft)
    return draft.proxy
  }

  plain (value: unknown): unknown {
    return isContainer(value) ? this.get(value)?.base ?? value : value
  }

  take (value: unknown): unknown {
    if (!isContainer(value)) return value
    const draft = this.get(value)
    if (draft !== undefined) return draft.base
    this.#given.add(value)
    return value
  }
}
