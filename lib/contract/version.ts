type Comparator = (version: number) => boolean

const COMPARATORS: Record<string, (bound: number) => Comparator> = {
  '>=': (bound) => (version) => version >= bound,
  '>': (bound) => (version) => version > bound,
  '<=': (bound) => (version) => version <= bound,
  '<': (bound) => (version) => version < bound,
  '': (bound) => (version) => version === bound
}

/**
 * The versions of clients that a range means: comparators such as `>=6`, joined by spaces (all of them) and `||` (any).
 * @throws Error saying what is wrong with the range
 */
export function rangeOf (range: string): (version: number) => boolean {
  const alternatives = range.split('||').map((part) => part.trim().split(/\s+/).map((comparator) => {
    const [, operator, bound] = /^(>=|>|<=|<|)(\d{1,9})$/.exec(comparator) ?? []
    if (bound === undefined) throw new Error(`"${comparator}" is no comparator: there are >=6, >6, <=6, <6 and 6`)
    return COMPARATORS[operator!]!(Number(bound))
  }))
  return (version) => alternatives.some((comparators) => comparators.every((accepts) => accepts(version)))
}
