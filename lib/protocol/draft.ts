import { Comparison } from './comparison.js'
import { ArrayDraft } from './draft-array.js'
import { ObjectDraft } from './draft-object.js'
import { type ContainerDraft, DRAFT, type Drafts } from './draft-container.js'
import { coded, isThenable } from './errors.js'
import { type Container, isContainer } from './json.js'
import type { Operation } from './messages.js'

/**
 * Runs a recipe on a draft of a value. Inside the recipe the draft behaves as a plain object, and a moved or
 * assigned object stays the same reference. The value itself is only read. The cost depends on the edits, not
 * on the size of the value.
 *
 * @param source holds the value: plain JSON without repeated objects, or undefined for none
 * @param recipe changes the draft that it gets, or returns a new value; synchronous. A value that is no object
 *   or array comes as it is, no value as undefined. What it wrote is copied once it has returned.
 * @param maxDepth how many containers may be inside each other
 * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP` for what the recipe left in the value, as `copyJson`
 * @throws TypeError `ASYNC_RECIPE` where it returns a promise; `RECIPE_RETURNED` where it changes the
 *   draft and returns a value as well; `DRAFT_REVOKED` from every use of a draft after its recipe
 */
export function record<T = unknown> ({ value }: { readonly value: unknown }, recipe: (draft: T) => unknown, maxDepth: number): Operation[] {
  const recording = new Recording()
  const draft = isContainer(value) ? recording.proxyOf(value, undefined, '') : value
  try {
    const result = recipe(draft as T)
    if (isThenable(result)) {
      result.then(undefined, () => {}) // its failure is ours to report, below
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
  /** Objects of the recipe's own, which are in the value as they are until it returns. */
  readonly #given = new Set<object>()

  get (container: object): ContainerDraft | undefined {
    const draft = this.#drafts.get(container) ?? (container as { [DRAFT]?: ContainerDraft })[DRAFT]
    return draft?.drafts === this ? draft : undefined // a proxy may be of a recipe around this one
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
