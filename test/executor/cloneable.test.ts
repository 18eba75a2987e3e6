import t from 'tap'
import { tryClone } from '../../lib/executor/cloneable.js'

t.test('cloneable: plain data and platform types are copied', async (t) => {
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  for (const value of [1, 'x', null, undefined, 10n, true, [1, [2]], { a: { b: new Date(0) } }, new Map([['k', new Set([1])]]), new Uint8Array(3), Object.create(null) as object, /x/g]) {
    const { copy, why } = tryClone(value)
    t.equal(why, undefined)
    t.same(copy, value)
    if (typeof value === 'object' && value !== null) t.not(copy, value)
  }
  t.equal(tryClone(cycle).why, undefined)
  t.equal((tryClone(new TypeError('x')).copy as Error).message, 'x')
})

t.test('cloneable: a refusal names the value in the way and its path', async (t) => {
  class Account {}
  let deep: unknown = 1
  for (let i = 0; i < 200; i++) deep = [deep]
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const given = new ArrayBuffer(8)
  structuredClone(given, { transfer: [given] })
  const refused: Array<[value: unknown, why: RegExp]> = [
    [() => {}, /^the value is a function$/],
    [Symbol('s'), /a symbol/],
    [{ a: [{ 'b/c': () => {} }] }, /^the value at \/a\/0\/b~1c is a function$/],
    [{ account: new Account() }, /^the value at \/account is an instance of Account$/],
    [new Map([['k', Promise.resolve()]]), /instance of Promise/],
    [new Set([new WeakMap()]), /instance of WeakMap/],
    [deep, /nested deeper/],
    [new Proxy({}, {}), /a Proxy/],
    [{ bytes: Buffer.from('x') }, /^the value at \/bytes is an instance of Buffer$/],
    [new (class Stack extends Array {})(), /an instance of Stack/],
    [new (class Cache extends Map {})(), /an instance of Cache/],
    [new (class Failure extends Error {})(), /an instance of Failure/],
    [{ error: Object.assign(new Error('x'), { code: 5 }) }, /^the value at \/error is an error with members of its own: code$/],
    [revoked.proxy, /a Proxy/],
    [{ get a () { throw new Error('no') } }, /^no$/],
    [{ given }, /./]
  ]
  for (const [value, why] of refused) t.match(tryClone(value).why, why)
})
