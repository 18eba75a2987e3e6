const cycle: { self?: unknown } = {}
cycle.self = cycle

/** What JSON cannot hold, and what the message calls it. */
export const awkward: Record<string, [value: unknown, called: string]> = {
  Map: [new Map([[1, 2]]), 'a Map'],
  Set: [new Set([1]), 'a Set'],
  NaN: [NaN, 'NaN'],
  Infinity: [Infinity, 'Infinity'],
  BigInt: [10n, 'a bigint'],
  Buffer: [Buffer.from('x'), 'a Buffer'],
  Uint8Array: [new Uint8Array(1), 'a Uint8Array'],
  function: [() => {}, 'a function'],
  symbol: [Symbol('s'), 'a symbol'],
  cycle: [cycle, 'a cycle'],
  Promise: [Promise.resolve(), 'a Promise']
}

class Point {
  x = 1
  get length (): number { return this.x }
}

/** What JSON holds, though not as it is. */
export const odd = (): Record<string, unknown> => ({
  at: new Date(0),
  none: undefined,
  point: new Point(),
  own: { toJSON: () => 'shown' },
  boxed: Object('s'),
  zero: -0,
  error: new Error('e'),
  ['__proto__']: 1,
  list: [[], {}, null]
})
