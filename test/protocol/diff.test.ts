import fc from 'fast-check'
import fastJsonPatch from 'fast-json-patch'
import t from 'tap'
import { Document } from '../../lib/protocol/document.js'
import { diff } from '../../lib/protocol/diff.js'
import { clonePlain, copyJson, isContainer, isEqual, type Members } from '../../lib/protocol/json.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { applyPatch, parsePatch } from '../../lib/protocol/patch.js'
import { DEEP, choice, containersOf, json, operationSeeds, operationsOn, ordinaryJson } from './arbitrary-json.js'
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
  // the whole value is sent where the operations are longer
  const size = JSON.stringify(patches).length
  if (size > 2 * Math.max(4096, JSON.stringify(expected).length)) throw new Error(`${size} characters of operations`)
  return patches
}

/** What another library makes of the patch has to be the same. */
function checkWithOther (from: unknown, to: unknown): Operation[] {
  const patches = check(from, to)
  const { newDocument } = fastJsonPatch.applyPatch(clonePlain(from), clonePlain(patches) as fastJsonPatch.Operation[], true)
  if (!isEqual(newDocument, to)) throw new Error(`fast-json-patch makes another value of ${JSON.stringify(patches)}`)
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

t.test('fast-json-patch makes the same of the diff', async () => {
  fc.assert(fc.property(ordinaryJson, ordinaryJson, operationSeeds(ordinaryJson), (from, other, seeds) => {
    checkWithOther(from, other)
    let to = from
    for (const operation of operationsOn(from, seeds, true)) {
      try {
        to = applyPatch(to, [operation])
      } catch {
        // an operation that does not apply changes nothing
      }
    }
    checkWithOther(from, clonePlain(to))
  }), { numRuns: 1000 })
})

/** Long enough that an operation which sends one stands out. */
const record = (n: number): Members => ({ name: `record ${n}`, text: `${n}`.padStart(300, '.'), n, tags: ['a', { n }] })

const kinds: Record<string, (n: number) => unknown> = {
  'records with an id': (n) => ({ id: n, ...record(n) }),
  'records without': record,
  lists: (n) => [n, [record(n)]],
  texts: (n) => `${n}`.padStart(400, '.'),
  'records and lists': (n) => n % 2 === 0 ? record(n) : [record(n)]
}

const listEdit = fc.record({ act: fc.constantFrom('insert', 'remove', 'move', 'edit', 'repeat'), at: choice, to: choice })

for (const [kind, make] of Object.entries(kinds)) {
  t.test(`diff: a copied list of ${kind} costs its edits, wherever they are`, async () => {
    fc.assert(fc.property(fc.nat(60), fc.array(listEdit, { maxLength: 4 }), (length, edits) => {
      const from = Array.from({ length }, (_, n) => make(n))
      const to = from.slice()
      let cost = 2
      // without an id one that was edited beside an insertion is not recognized
      const isRecognized = kind === 'records with an id' || (kind === 'records without' && edits.every(({ act }) => act === 'edit'))
      for (const { act, at, to: target } of edits) {
        const i = at % (to.length + 1)
        const inserted = make(100 + target)
        if (act === 'insert') to.splice(i, 0, inserted)
        else if (act === 'repeat' && to.length > 0) to.splice(i, 0, to[target % to.length])
        else if (act === 'remove') to.splice(i, 1)
        else if (act === 'move') to.splice(target % (to.length + 1), 0, ...to.splice(i, 1))
        else if (to[i] !== undefined) to[i] = isContainer(to[i]) && !Array.isArray(to[i]) ? { ...to[i], n: -1 } : inserted
        cost += act === 'remove' || act === 'move' ? 100 : act === 'edit' && isRecognized ? 200 : 2 * JSON.stringify(inserted).length
      }
      const size = JSON.stringify(checkWithOther({ list: from }, { list: clonePlain(to) })).length
      if (size > cost) throw new Error(`${size} characters for ${cost}`)
    }), { numRuns: 300 })
  })
}

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
    [{ op: 'add', path: '/501', value: 'y' }, { op: 'replace', path: '/500', value: 'x' }])
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

t.test('diff: an array of any length is refused for its first hole', async t => {
  const sparse: unknown[] = []
  sparse[4_000_000_000] = 1
  t.throws(() => diff([1], sparse, 10), { code: 'INVALID_JSON', message: 'at "/0":' })
  t.throws(() => diff({ a: [1, 2] }, { a: [2, , 1, NaN] }, 10), { code: 'INVALID_JSON', message: 'at "/a/1":' }) // eslint-disable-line no-sparse-arrays
  t.throws(() => diff([{ a: 1 }, 2], [2, { b: [NaN] }, { a: NaN }], 10), { code: 'INVALID_JSON', message: 'at "/1/b/0":' }, 'the first of several')
})

t.test('diff: a value that is nested to mislead costs no more than others', async () => {
  const large = (last: number): Members => Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, i < 19_999 ? i : last]))
  const nest = (value: unknown, wrap: (value: unknown, level: number) => unknown): unknown => {
    for (let level = 0; level < 200; level++) value = wrap(value, level)
    return value
  }
  const started = process.cpuUsage()
  check(nest(large(0), (value, n) => [n, value, n]), nest(large(1), (value, n) => [n + 1, value, n + 1]))
  check(nest(large(0), (value, n) => [value, n]), nest(large(1), (value, n) => ['x', value, n + 1, 'y']))
  check(nest([large(0)], (value) => ({ value })), nest([large(1)], (value) => ({ value })))
  const { user } = process.cpuUsage(started)
  if (user > 10e6) throw new Error(`it took ${user / 1e6} s`)
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
