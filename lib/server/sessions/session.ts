import { coded } from '../../protocol/errors.js'
import { clonePlain, getMember, putMember } from '../../protocol/json.js'
import { jsonSize } from '../../protocol/json-size.js'
import { type HybridClock, addMs, bounded } from '../../crdt/clock.js'
import type { Replica } from '../store/replica.js'

/** A stored field: time and node of its last write, and the value. A deleted field has no value. */
export type Field = [time: number, node: string, value?: unknown]

type Fields = Record<string, Field>

/** Most bytes of JSON in a user's session, including names and timestamps. */
const MAX_BYTES = 256 * 1024

/**
 * A deleted field leaves a tombstone, so that an older write that arrives later is ignored. Tombstones are kept for a
 * day, up to these bounds. They count towards the size of the session.
 */
const TOMBSTONE_MS = 24 * 60 * 60 * 1000
const MAX_TOMBSTONES = 1000
const MAX_TOMBSTONE_BYTES = 64 * 1024

interface Dirty {
  field: Field
  /** Bytes by which the field makes the session grow. */
  growth: number
}

/** One user's session on this node: a copy of the stored fields, and local changes that are not stored yet. */
export class Session {
  /** Monotonic ms: the last use by server code, and the next check whether the session has expired. */
  usedAt = 0
  checkAt = Infinity
  /** Changes since the last flush began. */
  changes = 0
  /** Flushes that failed in a row. */
  failures = 0
  /** Calls of `restore` in progress. */
  restores = 0
  /** Whether server code has called `restore`. */
  wasRestored = false
  loading: Promise<void> | undefined
  flushing: Promise<void> | undefined
  /** The flush after the current one. */
  next: Promise<void> | undefined
  timer: NodeJS.Timeout | undefined
  readonly #clock: HybridClock
  readonly #dirty = new Map<string, Dirty>()
  #growth = 0
  #replica: Replica | undefined
  /** The fields that were reported last; undefined if changes are not reported. */
  readonly #reported: Map<string, Field> | undefined

  constructor (readonly userId: string, clock: HybridClock, hasChangeStream: boolean) {
    this.#clock = clock
    if (hasChangeStream) this.#reported = new Map()
  }

  get isLoaded (): boolean { return this.#replica !== undefined }
  get isDirty (): boolean { return this.#dirty.size > 0 }
  get isStored (): boolean { return this.#replica !== undefined && this.#replica.version > 0 }

  /** A copy of a field's value; undefined if there is none. */
  get (key: string): unknown {
    return clonePlain(this.#field(key)?.[2])
  }

  has (key: string): boolean {
    return isThere(this.#field(key))
  }

  /** A copy of all fields. */
  values (): Record<string, unknown> {
    const values: Record<string, unknown> = {}
    for (const key of this.#keys()) if (this.has(key)) putMember(values, key, this.get(key))
    return values
  }

  /** @throws RangeError `LIMIT_EXCEEDED` if the session would be too large */
  write (key: string, field: Field): void {
    const stored = ownField(this.#stored, key)
    const growth = sizeOf(key, field) - (stored === undefined ? 0 : sizeOf(key, stored))
    const before = this.#dirty.get(key)?.growth ?? 0
    const size = (this.#replica?.document.size ?? 0) + this.#growth + growth - before
    if (size > MAX_BYTES && growth > before) {
      throw coded(new RangeError(`the session of "${this.userId}" would have ${size} bytes of JSON; the limit is ${MAX_BYTES}`), 'LIMIT_EXCEEDED')
    }
    this.#growth += growth - before
    this.#dirty.set(key, { field, growth })
    this.#reported?.set(key, field)
  }

  /** Sets the stored fields. Earlier local writes win over them, whatever the clocks say. */
  loaded (replica: Replica): void {
    this.#replica = replica
    this.#seen()
    for (const [key, { field }] of this.#dirty) {
      const stored = ownField(this.#stored, key)
      if (stored !== undefined && !isLater(field, stored)) field[0] = this.#clock.tick()
    }
    for (const key of this.#keys()) this.#reported?.set(key, this.#field(key)!)
  }

  /** Handles a commit to the stored session. Returns the changed fields, if changes are reported. */
  moved (): Array<[key: string, field: Field]> {
    this.#seen()
    for (const [key, { field }] of this.#dirty) {
      const stored = ownField(this.#stored, key)
      if (stored !== undefined && isLater(stored, field)) this.#clean(key)
    }
    if (this.#reported === undefined) return []
    const changes: Array<[string, Field]> = []
    for (const key of this.#keys()) {
      const [field, reported] = [this.#field(key)!, this.#reported.get(key)]
      this.#reported.set(key, field)
      if (reported === undefined ? isThere(field) : !isSame(field, reported)) changes.push([key, field])
    }
    for (const [key, reported] of this.#reported) {
      if (this.#field(key) !== undefined) continue
      this.#reported.delete(key)
      if (isThere(reported)) changes.push([key, [this.#clock.tick(), this.#clock.node]])
    }
    return changes
  }

  /** Returns a recipe that merges the dirty fields into the stored ones, and a callback for its success. */
  flush (): { recipe: (draft: unknown) => Fields | undefined, done: () => void } {
    const writes = Array.from(this.#dirty, ([key, { field }]): [string, Field] => [key, field])
    return {
      recipe: (draft) => {
        const fields = new Map(entriesOf(this.#stored)) // updated below: the stored fields do not show the draft's changes
        const next = (draft ?? {}) as Fields
        for (const [key, field] of writes) {
          const known = fields.get(key)
          if (known !== undefined && !isLater(field, known)) continue
          fields.set(key, field)
          putMember(next, key, field)
        }
        for (const key of forgotten(fields, addMs(this.#clock.tick(), -TOMBSTONE_MS))) delete next[key]
        return draft === undefined ? next : undefined
      },
      done: () => { for (const [key, field] of writes) if (this.#dirty.get(key)?.field === field) this.#clean(key) }
    }
  }

  get #stored (): Fields { return (this.#replica?.document.value ?? {}) as Fields }

  #field (key: string): Field | undefined {
    return this.#dirty.get(key)?.field ?? ownField(this.#stored, key)
  }

  #keys (): Set<string> {
    return new Set([...entriesOf(this.#stored).map(([key]) => key), ...this.#dirty.keys()])
  }

  #seen (): void {
    for (const [, [time]] of entriesOf(this.#stored)) this.#clock.see(time)
  }

  #clean (key: string): void {
    this.#growth -= this.#dirty.get(key)!.growth
    this.#dirty.delete(key)
  }
}

/** Tombstones that can be deleted. */
function forgotten (fields: ReadonlyMap<string, Field>, before: number): string[] {
  const newestFirst = [...fields].filter(([, field]) => !isThere(field)).sort(([, [a]], [, [b]]) => b - a)
  let bytes = 0
  const isOld = ([key, field]: [string, Field], i: number): boolean => {
    bytes += sizeOf(key, field)
    return field[0] < before || i >= MAX_TOMBSTONES || bytes > MAX_TOMBSTONE_BYTES
  }
  return newestFirst.filter(isOld).map(([key]) => key)
}

/** Skips undefined members, which a draft is about to delete. */
function entriesOf (fields: Fields): Array<[key: string, field: Field]> {
  return Object.entries(fields).filter(([, field]) => (field as Field | undefined) !== undefined)
}

function ownField (fields: Fields, key: string): Field | undefined {
  return getMember(fields, key) as Field | undefined
}

function isThere (field: Field | undefined): boolean { return field !== undefined && field.length === 3 }

function isSame (a: Field, b: Field): boolean { return a[0] === b[0] && a[1] === b[1] }

function isLater (a: Field, b: Field): boolean {
  const [at, before] = [bounded(a[0]), bounded(b[0])]
  return at === before ? a[1] > b[1] : at > before
}

function sizeOf (key: string, field: Field): number { return jsonSize(key) + jsonSize(field) + 2 }
