import fc from 'fast-check'
import t from 'tap'
import { runInNewContext } from 'node:vm'
import { clonePlain, copyJson, isEqual, jsonDepth, type Members, stringify } from '../../lib/protocol/json.js'
import { jsonSize } from '../../lib/protocol/json-size.js'
import { containersOf, json } from './arbitrary-json.js'
import { invalidValues } from './invalid-values.js'

t.test('copyJson gives what JSON.stringify and JSON.parse give', async t => {
  class Point {
    #hidden = 1
    x = 1
    get sum () { return this.x + this.#hidden }
    method () {}
  }
  const inherited: Members = Object.create({ ignored: 1 })
  inherited.own = 2
  const values: unknown[] = [
    { a: undefined, b: [null, -0], c: new Date(0), d: new Date(NaN) },
    new Point(), inherited, Object.create(null),
    [Object(1), Object('s'), Object(false), Object(Symbol.iterator).description],
    { [Symbol('s')]: 1, a: 2 },
    Object.defineProperty({ seen: 1 }, 'hidden', { value: 2, enumerable: false }),
    { get computed () { return [1] } },
    { a: { toJSON: (key: string) => `for ${key}` }, b: [{ toJSON: (key: string) => key }], c: { toJSON () {} } },
    { toJSON: 'a member like any other', constructor: 1, length: 5 },
    new Error('e'), /x/, new URL('http://localhost/'),
    runInNewContext('({ list: [1, new Date(0)], s: new String("s") })'),
    JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":null}}'),
    new Proxy([1, { a: 2 }], {})
  ]
  for (const value of values) t.equal(JSON.stringify(copyJson(value, 10)), JSON.stringify(value))
  t.ok(Object.is(copyJson(-0, 0), 0))
  t.equal(({} as Members).polluted, undefined)
})

t.test('json: the copy shares nothing with the value', async t => {
  fc.assert(fc.property(json, value => {
    for (const copy of [copyJson(value, 10), clonePlain(value)]) {
      t.equal(JSON.stringify(copy), JSON.stringify(value))
      const theirs = new Set(containersOf(value))
      for (const container of containersOf(copy)) {
        if (theirs.has(container) || Object.getPrototypeOf(container) !== Object.getPrototypeOf(Array.isArray(container) ? [] : {})) return false
      }
    }
    return true
  }), { numRuns: 300 })
  const shared = [1]
  const copy = copyJson([shared, shared], 10) as unknown[]
  t.not(copy[0], copy[1])
})

t.test('copyJson names what it refuses, and where it stands', async t => {
  for (const { name, value, code, path } of invalidValues) {
    const type = code === 'TOO_DEEP' ? RangeError : TypeError
    t.throws(() => copyJson(value(), 10), { code, message: `at ${JSON.stringify(path)}:` }, name)
    t.throws(() => copyJson(value(), 10), type)
    t.throws(() => copyJson(value(), 10, '/base/0'), { code, message: `at ${JSON.stringify('/base/0' + path)}:` })
  }
  t.throws(() => copyJson(runInNewContext('new Map()'), 10), { code: 'INVALID_JSON' }, 'a Map of another realm')
})

t.test('json: depth', async t => {
  t.equal(copyJson(1, 0), 1)
  t.throws(() => copyJson([], 0), { code: 'TOO_DEEP' })
  t.same(copyJson([], 1), [])
  t.throws(() => copyJson([[]], 1), { code: 'TOO_DEEP' })
  t.same([0, '', null, {}, [], [[], {}], { a: [{}] }].map(jsonDepth), [0, 0, 0, 1, 1, 2, 3])
})

t.test('jsonSize is the length of the text in bytes', async t => {
  for (let unit = 0; unit <= 0xffff; unit += unit < 0x900 ? 1 : 0x1ff) {
    const text = String.fromCharCode(unit)
    if (jsonSize(text) !== Buffer.byteLength(JSON.stringify(text))) t.fail(`size of U+${unit.toString(16)}`)
  }
  for (const text of ['\ud834\udd1e', '\ud834', '\udd1e', '\udd1e\ud834', '\ud834\ud834\udd1e', '\ud834a', '\udbff\udfff', '\ud800\udbff']) {
    t.equal(jsonSize(text), Buffer.byteLength(JSON.stringify(text)))
  }
  fc.assert(fc.property(json, value => jsonSize(value) === Buffer.byteLength(JSON.stringify(value))), { numRuns: 1000 })
})

t.test('json: isEqual ignores the order of members and nothing else', async t => {
  t.ok(isEqual({ a: 1, b: [{ c: 1, d: 2 }] }, { b: [{ d: 2, c: 1 }], a: 1 }))
  t.ok(isEqual(0, -0))
  for (const [a, b] of [[{ a: 1 }, { b: 1 }], [{ a: 1 }, { a: 1, b: 1 }], [[], {}], [{ 0: 1 }, [1]], [[1, 2], [2, 1]],
    [null, {}], [0, false], ['1', 1], [{ constructor: 1 }, {}], [{}, { toString: 1 }], [[1], [1, null]],
    [JSON.parse('{"__proto__":{}}'), {}]]) {
    t.notOk(isEqual(a, b), JSON.stringify([a, b]))
    t.notOk(isEqual(b, a), JSON.stringify([b, a]))
  }
  const sorted = (value: unknown): unknown => Array.isArray(value)
    ? value.map(sorted)
    : value !== null && typeof value === 'object' ? Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]).concat([['object']]) : value
  fc.assert(fc.property(json, json, (a, b) =>
    isEqual(a, clonePlain(a)) && isEqual(a, b) === (JSON.stringify(sorted(a)) === JSON.stringify(sorted(b)))))
})

t.test('stringify writes what JSON.stringify writes, and refuses what copyJson refuses', async t => {
  fc.assert(fc.property(json, value => {
    t.equal(stringify(value, 10), JSON.stringify(value))
  }))
  const values: unknown[] = [undefined, -0, [-0], { a: undefined, b: [new Date(0)] }, Object.create(null), { toJSON: 'a member' }, { toJSON: () => [1] }, Object.assign([1], { toJSON: () => 2 }), new URL('http://localhost/'), { n: Object(1) }]
  for (const value of values) t.equal(stringify(value), JSON.stringify(value))
  for (const { name, value, code, path } of invalidValues) {
    if (value() === undefined) continue
    t.throws(() => stringify({ in: value() }, 11), { code, message: new RegExp(JSON.stringify(`/in${path}`).slice(1, -1)) }, name)
    t.throws(() => stringify(value(), 10, '/at'), { code, message: /"\/at/ }, `${name} at a path`)
  }
})
