import { KeyTemplate, isTemplate } from './key-template.js'

/** The contract's name or template that a key matches, with the values of its parameters. */
export interface Found<T> {
  readonly name: string
  readonly params: Readonly<Record<string, string>>
  readonly value: T
}

/** Bounds of the cache, in keys and in characters of a key, because clients choose the keys. */
const MAX_REMEMBERED = 10_000
const MAX_LENGTH = 256

/**
 * Finds keys among names and templates: an equal name first, then the template with the most literal characters, then
 * the one with the fewest parameters.
 */
export class KeyIndex<T> {
  readonly #names = new Map<string, Found<T>>()
  readonly #templates: Array<{ template: KeyTemplate, value: T }> = []
  /** Cache of recent searches; null if no template matches. */
  readonly #remembered = new Map<string, Found<T> | null>()

  /** @throws Error if a template is malformed, or if a key could match two templates of equal rank */
  constructor (entries: Iterable<readonly [name: string, value: T]>) {
    for (const [name, value] of entries) {
      if (isTemplate(name)) this.#templates.push({ template: new KeyTemplate(name), value })
      else this.#names.set(name, { name, params: {}, value })
    }
    this.#templates.sort(({ template: a }, { template: b }) => rank(a, b))
    for (const [i, { template: a }] of this.#templates.entries()) {
      for (const { template: b } of this.#templates.slice(i + 1)) {
        if (rank(a, b) === 0 && a.meets(b)) throw new Error(`"${a.template}" and "${b.template}" can match the same key, and neither has more literal text`)
      }
    }
  }

  find (key: string): Found<T> | undefined {
    const named = this.#names.get(key)
    if (named !== undefined || this.#templates.length === 0) return named
    if (key.length > MAX_LENGTH) return this.#search(key)
    let found = this.#remembered.get(key)
    if (found === undefined) {
      if (this.#remembered.size >= MAX_REMEMBERED) this.#remembered.clear()
      this.#remembered.set(key, found = this.#search(key) ?? null)
    }
    return found ?? undefined
  }

  #search (key: string): Found<T> | undefined {
    for (const { template, value } of this.#templates) {
      const params = template.match(key)
      if (params !== undefined) return { name: template.template, params, value }
    }
    return undefined
  }
}

/** Sorts the more literal template first. */
function rank (a: KeyTemplate, b: KeyTemplate): number {
  return b.literals - a.literals || a.names.length - b.names.length
}
