import type { DurationName } from '../server/metrics/recorder.js'
import { OTHER } from '../server/metrics/refusals.js'

/** Maximum number of labels per duration. Further labels share one. */
const MAX_LABELS = 1000

/** An object per label of each duration. Labels beyond MAX_LABELS share one. */
export class ByLabel<T> {
  readonly #durations = new Map<DurationName, Map<string, T>>()
  readonly #make: (name: DurationName, label: string) => T

  constructor (make: (name: DurationName, label: string) => T) {
    this.#make = make
  }

  of (name: DurationName, label: string): T {
    let labels = this.#durations.get(name)
    if (labels === undefined) this.#durations.set(name, labels = new Map())
    const known = labels.get(label)
    if (known !== undefined) return known
    if (labels.size >= MAX_LABELS && label !== OTHER) return this.of(name, OTHER)
    const made = this.#make(name, label)
    labels.set(label, made)
    return made
  }

  /** The objects of a duration, by label. */
  all (name: DurationName): ReadonlyMap<string, T> {
    return this.#durations.get(name) ?? new Map()
  }
}
