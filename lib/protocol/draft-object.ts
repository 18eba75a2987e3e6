import type { Comparison } from './comparison.js'
import { ContainerDraft } from './draft-container.js'
import { getMember, type Members, putMember } from './json.js'

interface Edits {
  /** Written members; new ones in the order of insertion. */
  readonly changes: Map<string, unknown>
  /** Deleted members. One that is added again comes last. */
  readonly gone: Set<string>
  settled?: Members
}

/** The draft of an object. It records the changed members. */
export class ObjectDraft extends ContainerDraft<Members> {
  #edits: Edits | undefined

  #stored (key: string): unknown {
    if (this.#edits === undefined) return getMember(this.base, key)
    const { changes, gone } = this.#edits
    return changes.has(key) ? changes.get(key) : gone.has(key) ? undefined : getMember(this.base, key)
  }

  #edit (): Edits {
    this.touch()
    this.#edits ??= { changes: new Map(), gone: new Set() }
    return this.#edits
  }

  protected read (key: string): unknown {
    const value = this.#stored(key)
    if (value !== undefined) return this.shown(value, key)
    // an inherited method; the prototype is not exposed, because a recipe could write to it
    return key === '__proto__' || this.holds(key) ? undefined : Reflect.get(Object.prototype, key)
  }

  protected holds (key: string): boolean {
    return this.#stored(key) !== undefined || this.#edits?.changes.has(key) === true
  }

  protected keys (): string[] {
    const keys = Object.keys(this.base).filter((key) => this.base[key] !== undefined)
    if (this.#edits === undefined) return keys
    // build an object to get the right order: integer names come first
    const members: Members = {}
    for (const key of keys) if (!this.#edits.gone.has(key)) putMember(members, key, true)
    for (const key of this.#edits.changes.keys()) putMember(members, key, true)
    return Object.keys(members)
  }

  protected describe (key: string): PropertyDescriptor | undefined {
    if (!this.holds(key)) return undefined
    return { value: this.shown(this.#stored(key), key), writable: true, enumerable: true, configurable: true }
  }

  protected write (key: string, value: unknown): void {
    if (this.#stored(key) !== value || !this.holds(key)) this.#edit().changes.set(key, value)
  }

  protected erase (key: string): boolean {
    if (!this.holds(key)) return true
    const { changes, gone } = this.#edit()
    changes.delete(key)
    if (getMember(this.base, key) !== undefined) gone.add(key)
    return true
  }

  settled (): Members {
    if (!this.isTouched) return this.base
    const edits = this.#edit()
    if (edits.settled === undefined) {
      edits.settled = {}
      for (const key of this.keys()) putMember(edits.settled, key, this.#stored(key))
    }
    return edits.settled
  }

  reportTo (comparison: Comparison): void {
    comparison.walk.enter(this.base)
    const { changes, gone } = this.#edit()
    for (const [key, value] of changes) {
      if (gone.has(key)) comparison.remove(key)
      comparison.member(key, gone.has(key) ? undefined : getMember(this.base, key), value)
    }
    for (const key of gone) if (!changes.has(key)) comparison.remove(key)
    for (const { key, base } of this.touchedChildren!) {
      if (!changes.has(key as string) && !gone.has(key as string)) comparison.member(key as string, base, base)
    }
    comparison.walk.leave()
  }
}
