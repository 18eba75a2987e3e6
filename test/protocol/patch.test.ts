import fc from 'fast-check'
import fastJsonPatch from 'fast-json-patch'
import { createRequire } from 'node:module'
import t from 'tap'
import { Document } from '../../lib/protocol/document.js'
import { clonePlain, isEqual, type Members } from '../../lib/protocol/json.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { applyPatch, parsePatch, PatchError } from '../../lib/protocol/patch.js'
import { containersOf, json, operationSeeds, operationsOn, ordinaryJson } from './arbitrary-json.js'

const require = createRequire(import.meta.url)

interface Case { doc: unknown, patch: unknown, expected?: unknown, error?: string, comment?: string, disabled?: boolean }

t.test('the test suite of JSON Patch', async t => {
  const cases: Case[] = [...require('json-patch-test-suite/tests.json'), ...require('json-patch-test-suite/spec_tests.json')]
    .filter((entry: Case) => !entry.disabled)
  t.ok(cases.length > 80, `${cases.length} cases`)
  for (const { doc, patch, expected, error, comment } of cases) {
    const name = comment ?? error ?? JSON.stringify(patch)
    const before = JSON.stringify(doc)
    const document = new Document(clonePlain(doc))
    if (error !== undefined) {
      t.throws(() => applyPatch(doc, parsePatch(patch)), PatchError, name)
      t.throws(() => document.apply(parsePatch(clonePlain(patch))), PatchError, name)
      t.equal(JSON.stringify(document.value), before)
    } else {
      const result = applyPatch(doc, parsePatch(patch))
      document.apply(parsePatch(clonePlain(patch)))
      if (expected !== undefined) t.same(result, expected, name)
      t.ok(isEqual(document.value, result), name)
    }
    t.equal(JSON.stringify(doc), before)
  }
})

t.test('parsePatch refuses what is no patch', async t => {
  for (const patch of [null, {}, 'x', [null], [[]], [{}], [{ op: 'add', path: '/a' }], [{ op: 'add', path: 'a', value: 1 }],
    [{ op: 'add', path: 1, value: 1 }], [{ op: 'replace', path: '/~2', value: 1 }], [{ op: 'replace', path: '/~', value: 1 }],
    [{ op: 'test', path: '' }], [{ op: 'move', path: '/a' }], [{ op: 'copy', path: '/a', from: 'b' }],
    [{ op: 'toString', path: '' }], [{ op: {}, path: '' }], [Object.create({ op: 'remove', path: '/a' })]]) {
    t.throws(() => parsePatch(patch), { code: 'INVALID_PATCH' }, JSON.stringify(patch))
  }
  const long = t.throws(() => parsePatch([{ op: 'remove', path: 'x'.repeat(1e6) }])) as Error
  t.ok(long.message.length < 300, 'a message has a bound')
  t.same(parsePatch([{ op: 'remove', path: '/a', value: 1, extra: 2 }, { op: 'add', path: '', value: null }]),
    [{ op: 'remove', path: '/a' }, { op: 'add', path: '', value: null }])
})

t.test('patches that must not apply', async t => {
  const root = { a: [1, 2], o: { x: 1 }, s: 'text', n: null }
  const before = JSON.stringify(root)
  for (const patch of [
    [{ op: 'remove', path: '' }], [{ op: 'move', from: '', path: '/a' }], [{ op: 'move', from: '/o', path: '/o/x' }],
    [{ op: 'add', path: '/a/3', value: 1 }], [{ op: 'add', path: '/a/01', value: 1 }], [{ op: 'replace', path: '/a/2', value: 1 }],
    [{ op: 'replace', path: '/a/-', value: 1 }], [{ op: 'remove', path: '/a/-' }], [{ op: 'add', path: '/a/1e0', value: 1 }],
    [{ op: 'add', path: '/a/x', value: 1 }], [{ op: 'remove', path: '/a/length' }], [{ op: 'add', path: '/a/length', value: 0 }],
    [{ op: 'remove', path: '/s/length' }], [{ op: 'add', path: '/s/0', value: 1 }], [{ op: 'add', path: '/n/x', value: 1 }],
    [{ op: 'remove', path: '/toString' }], [{ op: 'replace', path: '/constructor', value: 1 }], [{ op: 'remove', path: '/__proto__' }],
    [{ op: 'add', path: '/__proto__/polluted', value: 1 }], [{ op: 'add', path: '/constructor/prototype/polluted', value: 1 }],
    [{ op: 'copy', from: '/constructor', path: '/c' }], [{ op: 'test', path: '/toString', value: 1 }], [{ op: 'test', path: '/o', value: {} }],
    [{ op: 'test', path: '/a', value: { 0: 1, 1: 2 } }], [{ op: 'move', from: '/missing', path: '/missing' }]
  ] as Operation[][]) {
    // what came before must be undone
    const patches: Operation[] = [{ op: 'remove', path: '/o/x' }, { op: 'add', path: '/o/x', value: 1 }, { op: 'add', path: '/a/0', value: 0 },
      { op: 'remove', path: '/a/0' }, ...patch]
    const document = new Document(clonePlain(root))
    t.throws(() => document.apply(patches), { code: 'INVALID_PATCH' }, JSON.stringify(patch))
    t.equal(JSON.stringify(document.value), before)
    t.throws(() => applyPatch(root, patches), { code: 'INVALID_PATCH' })
    t.equal(JSON.stringify(root), before)
  }
  t.equal(({} as Members).polluted, undefined)
})

t.test('patch: hostile names are ordinary members', async t => {
  const patches: Operation[] = [
    { op: 'add', path: '/__proto__', value: { a: 1 } }, { op: 'add', path: '/__proto__/b', value: 2 },
    { op: 'copy', from: '/__proto__', path: '/constructor' }, { op: 'move', from: '/__proto__/a', path: '/' },
    { op: 'add', path: '/a~1b', value: 1 }, { op: 'add', path: '/~01', value: 2 }
  ]
  const expected = '{"__proto__":{"b":2},"constructor":{"a":1,"b":2},"":1,"a/b":1,"~1":2}'
  t.equal(JSON.stringify(applyPatch({}, patches)), expected)
  const document = new Document({})
  document.apply(clonePlain(patches))
  t.equal(JSON.stringify(document.value), expected)
  t.equal(document.size, expected.length)
})

t.test('applyPatch shares what it does not change', async t => {
  const root = { a: { x: [1] }, b: { y: [2] }, list: [{ n: 1 }, { n: 2 }] }
  const value = { deep: { z: 1 } }
  const result = applyPatch(root, [{ op: 'replace', path: '/list/1/n', value: 3 }, { op: 'add', path: '/c', value },
    { op: 'replace', path: '/c/deep/z', value: 2 }]) as any
  t.equal(result.a, root.a)
  t.equal(result.b, root.b)
  t.equal(result.list[0], root.list[0])
  t.same(root.list[1], { n: 2 })
  t.same(result.list[1], { n: 3 })
  t.same(value, { deep: { z: 1 } }, 'the operations keep their values')
  t.same(result.c, { deep: { z: 2 } })
  t.equal(applyPatch(root, []), root)
  t.equal(applyPatch(undefined, [{ op: 'replace', path: '', value: 1 }]), 1)
})

t.test('applyPatch copies a container once, however often the patch changes it', async t => {
  let copies = 0
  class Counted extends Array<number> {
    override [Symbol.iterator] () {
      copies++
      return super[Symbol.iterator]()
    }
  }
  const root = { list: Counted.of(0) }
  const patches = Array.from({ length: 50 }, (): Operation => ({ op: 'add', path: '/list/-', value: 1 }))
  const result = applyPatch(root, patches) as typeof root
  t.equal(copies, 1)
  t.equal(result.list.length, 51)
  t.equal(root.list.length, 1)
})

/** The result, or the error's code. */
function outcome (run: () => unknown): { value?: unknown, code?: string } {
  try {
    return { value: run() }
  } catch (error) {
    if (!(error instanceof PatchError)) throw error
    return { code: error.code }
  }
}

t.test('in place and by copying, a patch does the same; the earlier value stays as it was', async t => {
  let applied = 0
  fc.assert(fc.property(json, operationSeeds(), (root, seeds) => {
    const patches = operationsOn(root, seeds)
    const before = JSON.stringify(root)
    const text = JSON.stringify(patches)
    const document = new Document(clonePlain(root))
    const copied = outcome(() => applyPatch(root, patches))
    const inPlace = outcome(() => { document.apply(clonePlain(patches)) })
    if (JSON.stringify(root) !== before || JSON.stringify(patches) !== text || inPlace.code !== copied.code) return false
    if (copied.code === undefined && patches.length > 1) applied++
    const after = copied.code === undefined ? JSON.stringify(copied.value) : before
    const containers = containersOf(document.value)
    return JSON.stringify(document.value) === after && document.size === Buffer.byteLength(after) &&
      new Set(containers).size === containers.length
  }), { numRuns: 2000 })
  t.ok(applied > 500, `${applied} patches applied`)
})

t.test('fast-json-patch comes to the same result', async t => {
  let applied = 0
  fc.assert(fc.property(ordinaryJson, operationSeeds(ordinaryJson), (root, seeds) => {
    const patches = operationsOn(root, seeds, true)
    const ours = outcome(() => applyPatch(root, patches))
    let theirs: { value?: unknown, code?: string }
    try {
      theirs = { value: fastJsonPatch.applyPatch(clonePlain(root), clonePlain(patches) as fastJsonPatch.Operation[], true).newDocument }
    } catch {
      theirs = { code: 'INVALID_PATCH' }
    }
    if (ours.code === undefined) applied++
    // it lets the root be removed, and moved into itself
    if (ours.code !== undefined) return true
    // it checks the target of a move before the removal that comes first (RFC 6902 section 4.4)
    if (theirs.code !== undefined) return patches.some(({ op }) => op === 'move')
    return isEqual(ours.value, theirs.value)
  }), { numRuns: 1000 })
  t.ok(applied > 300, `${applied} patches applied`)
})
