import fc from 'fast-check'
import t from 'tap'
import { diff } from '../../lib/protocol/diff.js'
import { Document } from '../../lib/protocol/document.js'
import { record } from '../../lib/protocol/draft.js'
import { clonePlain, isContainer, isEqual } from '../../lib/protocol/json.js'
import { DEEP, json, operationSeeds, operationsOn } from './arbitrary-json.js'

const sizeOf = (value: unknown) => value === undefined ? 0 : Buffer.byteLength(JSON.stringify(value))

t.test('a document with and without a value', async t => {
  const document = new Document()
  t.equal(document.value, undefined)
  t.equal(document.size, 0)
  document.apply([{ op: 'replace', path: '', value: { a: 1 } }])
  t.same(document.value, { a: 1 })
  t.equal(document.size, 7)
  const mark = document.mark()
  document.set(undefined)
  t.equal(document.size, 0)
  document.set([1])
  t.equal(document.size, 3)
  document.rollback(mark)
  t.equal(JSON.stringify(document.value), '{"a":1}')
  t.equal(document.size, 7)
  document.set(undefined)
  t.equal(document.value, undefined)
  t.same(Object.keys(document.holder), [])
})

t.test('document: an undone removal gives a member its place back', async t => {
  const text = '{"b":1,"a":2,"__proto__":3,"10":1,"9":2,"c":{}}'
  const document = new Document(JSON.parse(text))
  const before = JSON.stringify(document.value)
  for (const paths of [['/b'], ['/__proto__', '/9'], ['/b', '/a', '/__proto__', '/10', '/9', '/c']]) {
    const mark = document.mark()
    for (const path of paths) document.apply([{ op: 'remove', path }])
    for (const path of paths) document.apply([{ op: 'add', path, value: 'again' }])
    const readded = JSON.stringify(document.value)
    for (const path of paths.toReversed()) document.apply([{ op: 'remove', path }])
    t.equal(document.size, sizeOf(document.value))
    t.not(readded, before)
    document.rollback(mark)
    t.equal(JSON.stringify(document.value), before)
    t.equal(document.size, sizeOf(document.value))
  }
  document.apply([{ op: 'remove', path: '/a' }, { op: 'remove', path: '/c' }, { op: 'add', path: '/a', value: 1 }])
  t.equal(JSON.stringify(document.value), '{"9":2,"10":1,"b":1,"__proto__":3,"a":1}', 'outside of a transaction it comes last')
  t.notOk(Object.hasOwn(document.value as object, 'c'), 'nothing is left behind')
})

t.test('document: size, undo and key order hold after any patches, undone or kept, inside each other', async () => {
  const step = fc.record({ seeds: operationSeeds(), end: fc.constantFrom('rollback', 'release', 'none'), inner: operationSeeds() })
  fc.assert(fc.property(json, json, fc.array(step, { maxLength: 5 }), (root, value, steps) => {
    const document = new Document(clonePlain(root))
    const attempt = (seeds: typeof steps[number]['seeds']) => {
      const before = JSON.stringify(document.value)
      try {
        document.apply(clonePlain(operationsOn(clonePlain(document.value), seeds)))
      } catch {
        if (JSON.stringify(document.value) !== before) throw new Error('a patch that failed left something')
      }
      if (document.size !== sizeOf(document.value)) throw new Error('size')
    }
    for (const { seeds, end, inner } of steps) {
      const before = JSON.stringify(document.value)
      if (end === 'none') {
        attempt(seeds)
        continue
      }
      const mark = document.mark()
      attempt(seeds)
      const between = JSON.stringify(document.value)
      // what was removed is absent for whoever looks, though the transaction holds its place
      const clean = JSON.parse(between)
      if (JSON.stringify(diff(document.value, value, DEEP)) !== JSON.stringify(diff(clean, value, DEEP))) return false
      if (diff(document.value, clean, DEEP).length > 0 || !isEqual(document.value, clean) || !isEqual(clean, document.value)) return false
      const keysIn = (read: Document) => record(read, draft => JSON.stringify(isContainer(draft) ? Reflect.ownKeys(draft) : []), DEEP)
      if (JSON.stringify(keysIn(document)) !== JSON.stringify(keysIn(new Document(clean)))) return false
      const innerMark = document.mark()
      attempt(inner)
      document.rollback(innerMark)
      if (JSON.stringify(document.value) !== between) return false
      if (end === 'rollback') {
        document.rollback(mark)
        if (JSON.stringify(document.value) !== before) return false
      } else {
        document.release()
      }
      if (document.size !== sizeOf(document.value)) return false
    }
    // nothing that is undefined may be left behind
    return Object.is(JSON.stringify(document.value), JSON.stringify(clonePlain(document.value))) && !hasUndefined(document.value)
  }), { numRuns: 600 })
})

function hasUndefined (value: unknown): boolean {
  if (value === undefined) return true
  return typeof value === 'object' && value !== null && Object.values(value).some(hasUndefined)
}

t.test('document: limits for patches from outside', async t => {
  const text = JSON.stringify({ big: 'x'.repeat(1000), list: [1, 2, 3], o: {} })
  const document = new Document(JSON.parse(text))
  const limits = { maxDepth: 3, maxWork: 5000 }
  t.throws(() => document.apply([{ op: 'add', path: '/o/a', value: [[]] }], limits), { code: 'TOO_DEEP' })
  t.throws(() => document.apply([{ op: 'add', path: '/o/a', value: [] }, { op: 'copy', from: '/o', path: '/o/b' }], limits), { code: 'TOO_DEEP' })
  t.throws(() => document.apply([{ op: 'add', path: '/o/a', value: [] }, { op: 'move', from: '/o', path: '/list/0' },
    { op: 'add', path: '/list/0/a/0', value: {} }], limits), { code: 'TOO_DEEP' })
  t.equal(JSON.stringify(document.value), text)
  const doubling = Array.from({ length: 40 }, (_, i) => ({ op: 'copy', from: '', path: `/o/${i}` } as const))
  t.throws(() => document.apply(doubling, { maxDepth: 100, maxWork: 1e6 }), { code: 'LIMIT_EXCEEDED', name: 'RangeError' })
  for (const patch of [
    [{ op: 'copy', from: '/big', path: '/c' }, { op: 'remove', path: '/c' }],
    [{ op: 'move', from: '/big', path: '/c' }, { op: 'move', from: '/c', path: '/big' }],
    [{ op: 'remove', path: '/o' }, { op: 'add', path: '/o', value: {} }],
    [{ op: 'test', path: '', value: {} }]
  ] as const) {
    t.throws(() => document.apply(Array.from({ length: 300 }, () => [...patch]).flat(), limits),
      patch[0].op === 'test' ? { code: 'INVALID_PATCH' } : { code: 'LIMIT_EXCEEDED' })
    t.equal(JSON.stringify(document.value), text)
    t.equal(document.size, text.length)
  }
  document.apply([{ op: 'add', path: '/o/a', value: [] }], limits)
  t.equal(document.size, text.length + '"a":[]'.length)
})
