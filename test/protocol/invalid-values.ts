class Cyclic { self: unknown = this }

function nested (depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

const cycle: { list: unknown[] } = { list: [1] }
cycle.list.push({ back: cycle })

/** A chain, so that the depth overflows beside the cycle and not on it. */
const chainAndCycle: Record<string, unknown> = { chain: nested(6) }
chainAndCycle.self = chainAndCycle

/** What every walk over a value of the user's must refuse, with a depth of 10 allowed. */
export const invalidValues: { name: string, value: () => unknown, code: 'INVALID_JSON' | 'TOO_DEEP', path: string }[] = [
  { name: 'undefined', value: () => undefined, code: 'INVALID_JSON', path: '' },
  { name: 'undefined in an array', value: () => ({ a: [1, undefined] }), code: 'INVALID_JSON', path: '/a/1' },
  // eslint-disable-next-line no-sparse-arrays
  { name: 'a hole', value: () => [1, , 3], code: 'INVALID_JSON', path: '/1' },
  { name: 'NaN', value: () => ({ 'a/b': { '~': NaN } }), code: 'INVALID_JSON', path: '/a~1b/~0' },
  { name: 'Infinity', value: () => [-Infinity], code: 'INVALID_JSON', path: '/0' },
  { name: 'a boxed NaN', value: () => ({ n: Object(NaN) }), code: 'INVALID_JSON', path: '/n' },
  { name: 'BigInt', value: () => ({ a: 1n }), code: 'INVALID_JSON', path: '/a' },
  { name: 'a boxed BigInt', value: () => ({ a: Object(1n) }), code: 'INVALID_JSON', path: '/a' },
  { name: 'a function', value: () => ({ a: () => {} }), code: 'INVALID_JSON', path: '/a' },
  { name: 'a class', value: () => Cyclic, code: 'INVALID_JSON', path: '' },
  { name: 'a symbol', value: () => [[Symbol('s')]], code: 'INVALID_JSON', path: '/0/0' },
  { name: 'Map', value: () => ({ '': new Map() }), code: 'INVALID_JSON', path: '/' },
  { name: 'Set', value: () => new Set(), code: 'INVALID_JSON', path: '' },
  { name: 'WeakMap', value: () => [new WeakMap()], code: 'INVALID_JSON', path: '/0' },
  { name: 'WeakSet', value: () => [new WeakSet()], code: 'INVALID_JSON', path: '/0' },
  { name: 'Promise', value: () => [Promise.resolve()], code: 'INVALID_JSON', path: '/0' },
  { name: 'Uint8Array', value: () => ({ a: new Uint8Array(2) }), code: 'INVALID_JSON', path: '/a' },
  { name: 'Buffer', value: () => ({ a: Buffer.from('x') }), code: 'INVALID_JSON', path: '/a' },
  { name: 'ArrayBuffer', value: () => ({ a: new ArrayBuffer(2) }), code: 'INVALID_JSON', path: '/a' },
  { name: 'toJSON that gives a Map', value: () => ({ a: { toJSON: () => new Map() } }), code: 'INVALID_JSON', path: '/a' },
  { name: 'toJSON that gives undefined in an array', value: () => [{ toJSON () {} }], code: 'INVALID_JSON', path: '/0' },
  { name: 'a cycle', value: () => cycle, code: 'INVALID_JSON', path: '/list/1/back' },
  { name: 'a cycle beside depth', value: () => chainAndCycle, code: 'INVALID_JSON', path: '/self' },
  { name: 'a cycle of a class', value: () => new Cyclic(), code: 'INVALID_JSON', path: '/self' },
  { name: 'depth', value: () => nested(11), code: 'TOO_DEEP', path: '/0/0/0/0/0/0/0/0/0/0' }
]
