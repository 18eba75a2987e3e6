type Comparator = (version: number) => boolean

const COMPARATORS: Record<string, (bound: number) => Comparator> = {
  '>=': (bound) => (version) => version >= bound,
  '>': (bound) => (version) => version > bound,
  '<=': (bound) => (version) => version <= bound,
  '<': (bound) => (version) => version < bound,
  '': (bound) => (version) => version === bound
}

/**
 * Parses a range of versions: comparators such as `>=6`, joined by spaces (all must match) and `||` (any may match).
 * @throws Error if the range is malformed; the message says why
 */
export function rangeOf (range: string): (version: number) => boolean {
  const alternatives = range.split('||').map((part) => part.trim().split(/\s+/).map((comparator) => {
    const [, operator, bound] = /^(>=|>|<=|<|)(\d{1,9})$/.exec(comparator) ?? []
    if (bound === undefined) throw new Error(`"${comparator}" is not a comparator: use >=6, >6, <=6, <6 or 6`)
    return COMPARATORS[operator!]!(Number(bound))
  }))
  return (version) => alternatives.some((comparators) => comparators.every((accepts) => accepts(version)))
}
