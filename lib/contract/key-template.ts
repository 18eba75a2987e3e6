/** A part of a template: literal text, or a parameter. */
type Part = { readonly text: string } | { readonly name: string }

const NAME = /^[A-Za-z_]\w*$/

/**
 * A template of keys, such as `room:{id}`, in the syntax of RFC 6570 level 1, which AsyncAPI uses for addresses. A
 * parameter is one or more characters other than `/`.
 */
export class KeyTemplate {
  readonly names: readonly string[]
  /** Number of literal characters. */
  readonly literals: number
  readonly #parts: readonly Part[]

  /** @throws Error if the template is malformed; the message says why */
  constructor (readonly template: string) {
    this.#parts = parse(template)
    this.names = this.#parts.flatMap((part) => 'name' in part ? part.name : [])
    this.literals = this.#parts.reduce((sum, part) => sum + ('text' in part ? part.text.length : 0), 0)
    if (new Set(this.names).size < this.names.length) throw new Error('a parameter occurs twice: give each one its own name')
  }

  /**
   * The values of the parameters, or undefined if the key does not match. A parameter ends at the first occurrence of
   * the literal text after it. Trying later occurrences would not match more keys.
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

  /** The end of a parameter that starts at `at`; a value up to `at` if it does not match. */
  #endOf (part: number, key: string, at: number): number {
    const next = this.#parts[part + 1]
    if (next === undefined || !('text' in next)) return key.length
    const isLast = part + 2 === this.#parts.length
    return isLast ? key.length - next.text.length : key.indexOf(next.text, at + 1)
  }

  /** Whether a key can match both templates. */
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
      if (!NAME.test(name)) throw new Error(`{${name}} is not a parameter: a name has letters, digits and _, and does not start with a digit`)
      if (parts.at(-1) !== undefined && 'name' in parts.at(-1)!) throw new Error('two parameters are adjacent: put text between them')
      parts.push({ name })
    } else if (/[{}]/.test(piece)) {
      throw new Error('a brace is unpaired: write parameters as {name}')
    } else {
      parts.push({ text: piece })
    }
  }
  return parts
}

/** Literal characters; undefined stands for a parameter. */
type Symbols = ReadonlyArray<string | undefined>

function symbolsOf (parts: readonly Part[]): Symbols {
  return parts.flatMap((part) => 'text' in part ? Array.from(part.text) : [undefined])
}

/** Whether some text matches both. Walks through pairs of positions, and visits each pair once. */
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
    // a parameter consumes one character, and may continue
    return walk(i + 1, j + 1) || (x === undefined && walk(i, j + 1)) || (y === undefined && walk(i + 1, j))
  }
  return walk(0, 0)
}
