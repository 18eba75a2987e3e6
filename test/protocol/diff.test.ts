import fc from 'fast-check'
import t from 'tap'
import { Document } from '../../lib/protocol/document.js'
import { diff } from '../../lib/protocol/diff.js'
import { clonePlain, copyJson, isEqual, type Members } from '../../lib/protocol/json.js'
import { applyPatch, parsePatch } from '../../lib/protocol/patch.js'
import { DEEP, containersOf, json, operationSeeds, operationsOn } from './arbitrary-json.js'
import { invalidValues } from './invalid-values.js'

/** The diff; fails where it is not right. */
function check (from: unknown, to: unknown) {
  const before = JSON.stringify(from)
  const patches = diff(from, to, DEEP)
  const expected = copyJson(to, DEEP)
  const theirs = new Set([...containersOf(from), ...containersOf(to)])
  for (const container of containersOf(patches)) if (theirs.has(container)) throw new Error('the patches share a value')
  if (isEqual(from, expected) !== (patches.length === 0)) throw new Error('operations if, and only if, something differs')
  if (!isEqual(applyPatch(from, parsePatch(patches)), expected)) throw new Error('applyPatch does not give the value')
  if (JSON.stringify(from) !== before) throw new Error('the value was changed')
  const document = new Document(clonePlain(from))
  document.apply(clonePlain(patches))
  if (!isEqual(document.value, expected)) throw new Error('Document.apply does not give the value')
  return patches
}

t.test('the diff takes any value to any other', async () => {
  fc.assert(fc.property(json, json, (from, to) => { check(from, to) }), { numRuns: 1000 })
})

t.test('the diff of a value and a changed one', async () => {
  fc.assert(fc.property(json, operationSeeds(), (from, seeds) => {
    let to = from
    for (const operation of operationsOn(from, seeds)) {
      try {
        to = applyPatch(to, [operation])
      } catch {
        // an operation that does not apply changes nothing
      }
    }
    check(from, clonePlain(to))
  }), { numRuns: 1000 })
})

t.test('diff: the operations are those that one would write', async t => {
  const records = Array.from({ length: 1000 }, (_, i) => ({ id: i, name: `record ${i}`, tags: ['a', 'b'] }))
  const changed = (change: (list: any[]) => void) => {
    const copy = clonePlain(records) as any[]
    change(copy)
    return check(records, copy)
  }
  t.same(changed(list => list.unshift({ id: -1 })), [{ op: 'add', path: '/0', value: { id: -1 } }])
  t.same(changed(list => list.push(1)), [{ op: 'add', path: '/1000', value: 1 }])
  t.same(changed(list => list.splice(500, 2)), [{ op: 'remove', path: '/501' }, { op: 'remove', path: '/500' }])
  t.same(changed(list => list.splice(500, 1, 'x', 'y')),
    [{ op: 'replace', path: '/500', value: 'x' }, { op: 'add', path: '/501', value: 'y' }])
  t.same(changed(list => { list[7].name = 'new'; list[990].tags[1] = 'c' }),
    [{ op: 'replace', path: '/7/name', value: 'new' }, { op: 'replace', path: '/990/tags/1', value: 'c' }])
  t.same(changed(list => { list.length = 0 }), [{ op: 'replace', path: '', value: [] }])
  t.same(check({ a: 1, b: 2 }, { b: 2, a: 1 }), [])
  t.same(check({ a: 1, b: { c: 1 } }, { b: { d: undefined } }), [{ op: 'remove', path: '/b/c' }, { op: 'remove', path: '/a' }])
  t.same(check({ a: 1 }, { a: undefined, b: undefined }), [{ op: 'remove', path: '/a' }])
  t.same(check({ 'a/b': { '~': { '': 1 } } }, { 'a/b': { '~': { '': 2 } } }), [{ op: 'replace', path: '/a~1b/~0/', value: 2 }])
  t.same(check([0], [-0]), [])
  for (const [from, to] of [[1, 2], [1, null], [null, {}], [{}, []], [[], {}], [{ a: 1 }, 'a'], ['a', [1]]]) {
    t.same(check(from, to), [{ op: 'replace', path: '', value: to }])
  }
  t.same(diff(undefined, { a: 1 }, 9), [{ op: 'replace', path: '', value: { a: 1 } }])
})

t.test('diff: hostile members', async t => {
  const hostile = JSON.parse('{"__proto__":{"a":1},"constructor":1}')
  t.equal(JSON.stringify(check({}, hostile)),
    '[{"op":"add","path":"/__proto__","value":{"a":1}},{"op":"add","path":"/constructor","value":1}]')
  t.same(check(hostile, {}).map(({ op }) => op), ['remove', 'remove'])
  t.same(check(hostile, JSON.parse('{"__proto__":{"a":2},"constructor":1}')), [{ op: 'replace', path: '/__proto__/a', value: 2 }])
  const own: Members = Object.create({ inherited: 1 })
  Object.defineProperty(own, 'hidden', { value: 1, enumerable: false })
  t.same(check({ inherited: 1, hidden: 1 }, own).map(({ op }) => op), ['remove', 'remove'])
})

t.test('diff: a value may hold one thing twice, and have a say in what it is as JSON', async t => {
  const shared = { a: [1] }
  t.same(check({ x: { a: [1] }, y: 1 }, { x: shared, y: shared }), [{ op: 'replace', path: '/y', value: { a: [1] } }])
  t.same(check({ at: '1970-01-01T00:00:00.000Z' }, { at: new Date(0) }), [])
  t.same(check([{ at: null }, 1], [{ at: new Date(NaN) }]), [{ op: 'remove', path: '/1' }])
  t.same(check([1, { k: 'k' }], [{ k: { toJSON: (key: string) => key } }]), [{ op: 'remove', path: '/0' }])
})

t.test('diff refuses what copyJson refuses, wherever it stands', async t => {
  for (const { name, value, code, path } of invalidValues) {
    for (const from of [undefined, null, {}, [], { a: 1 }, [1, 2, 3], { list: [1, {}] }, { a: [1] }, [[[[1]]]]]) {
      t.throws(() => diff(from, value(), 10), { code, message: `at ${JSON.stringify(path)}:` }, name)
    }
    if (name === 'undefined') continue
    const where = { code: code as string, message: `at ${JSON.stringify('/k/1' + path)}:` }
    for (const from of [{ k: [] }, { k: [0, 1] }, { k: [0, [1], 2] }, { k: [0, { a: 1, n: 1 }] }]) {
      t.throws(() => diff(from, { k: [0, value()] }, 12), where, name)
      t.throws(() => copyJson({ k: [0, value()] }, 12), where, name)
    }
  }
})
