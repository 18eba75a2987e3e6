/** A part of a template: literal text, or a parameter. */
type Part = { readonly text: string } | { readonly name: string }

const NAME = /^[A-Za-z_]\w*$/

/**
 * A name of keys with parameters, as `room:{id}`: RFC 6570 level 1, as the addresses of AsyncAPI. A parameter is one
 * or more characters but `/`.
 */
export class KeyTemplate {
  readonly names: readonly string[]
  /** Characters that are the same in every key. */
  readonly literals: number
  readonly #parts: readonly Part[]

  /** @throws Error saying what is wrong with the template */
  constructor (readonly template: string) {
    this.#parts = parse(template)
    this.names = this.#parts.flatMap((part) => 'name' in part ? part.name : [])
    this.literals = this.#parts.reduce((sum, part) => sum + ('text' in part ? part.text.length : 0), 0)
    if (new Set(this.names).size < this.names.length) throw new Error('a parameter stands in it twice')
  }

  /**
   * The values of the parameters, or undefined where the key is none of the template's. A parameter ends where the
   * text after it first begins: a later place would put that text, or a `/`, into the parameter, and find no more keys.
   */
  match (key: string): Readonly<Record<string, string>> | undefined {
    const params: Record<string, string> = {}
    let at = 0
    for (const [i, part] of this.#parts.entries()) {
      if ('text' in part) {
        if (!key.startsWith(part.text, at)) return undefined
        at += part.text.length
        continue
      }
      const end = this.#endOf(i, key, at)
      const value = key.slice(at, end)
      if (end <= at || value.includes('/')) return undefined
      params[part.name] = value
      at = end
    }
    return at === key.length ? params : undefined
  }

  /** The end of a parameter that begins at `at`; at most `at` if there is none. */
  #endOf (part: number, key: string, at: number): number {
    const next = this.#parts[part + 1]
    if (next === undefined || !('text' in next)) return key.length
    const isLast = part + 2 === this.#parts.length
    return isLast ? key.length - next.text.length : key.indexOf(next.text, at + 1)
  }

  /** Whether a key can be one of both. */
  meets (other: KeyTemplate): boolean {
    return overlap(symbolsOf(this.#parts), symbolsOf(other.#parts))
  }
}

/** Whether a name of a contract is a template. */
export function isTemplate (name: string): boolean {
  return name.includes('{') || name.includes('}')
}

function parse (template: string): Part[] {
  const parts: Part[] = []
  for (const piece of template.split(/(\{[^{}]*\})/)) {
    if (piece === '') continue
    if (piece.startsWith('{') && piece.endsWith('}')) {
      const name = piece.slice(1, -1)
      if (!NAME.test(name)) throw new Error(`{${name}} is no parameter: a name is letters, digits and _`)
      if (parts.at(-1) !== undefined && 'name' in parts.at(-1)!) throw new Error('two parameters stand side by side')
      parts.push({ name })
    } else if (/[{}]/.test(piece)) {
      throw new Error('a brace stands alone')
    } else {
      parts.push({ text: piece })
    }
  }
  return parts
}

/** A character, or one or more of any but `/`. */
type Symbols = ReadonlyArray<string | undefined>

function symbolsOf (parts: readonly Part[]): Symbols {
  return parts.flatMap((part) => 'text' in part ? Array.from(part.text) : [undefined])
}

/** Whether some text is matched by both: a walk through pairs of places, each visited once. */
function overlap (a: Symbols, b: Symbols): boolean {
  const seen = new Set<string>()
  const walk = (i: number, j: number): boolean => {
    if (i === a.length || j === b.length) return i === a.length && j === b.length
    const place = `${i},${j}`
    if (seen.has(place)) return false
    seen.add(place)
    const [x, y] = [a[i], b[j]]
    if (x !== undefined && y !== undefined) return x === y && walk(i + 1, j + 1)
    if (x === '/' || y === '/') return false
    // a parameter takes a character, and may go on
    return walk(i + 1, j + 1) || (x === undefined && walk(i, j + 1)) || (y === undefined && walk(i + 1, j))
  }
  return walk(0, 0)
}
