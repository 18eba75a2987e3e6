import { inspect } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { Document } from '../../lib/protocol/document.js'
import { record } from '../../lib/protocol/draft.js'
import { type Container, clonePlain, getMember, isContainer, isEqual, type Members, putMember } from '../../lib/protocol/json.js'
import type { Operation } from '../../lib/protocol/messages.js'
import { applyPatch, parsePatch } from '../../lib/protocol/patch.js'
import { choice, containersOf, json, key } from './arbitrary-json.js'
import { invalidValues } from './invalid-values.js'

/** Records a recipe; fails where the document was not left alone, or the patches do not do what the recipe did. */
function check (root: unknown, recipe: (draft: any) => unknown, expected?: unknown): Operation[] {
  const document = new Document(clonePlain(root))
  const before = JSON.stringify(document.value)
  const { size } = document
  let seen: unknown
  const patches = record(document, (draft: any) => {
    const result = recipe(draft)
    seen = clonePlain(JSON.parse(JSON.stringify(result === undefined ? draft : result)))
    return result
  }, 20)
  t.equal(JSON.stringify(document.value), before, 'the document is as it was')
  t.equal(document.size, size)
  document.apply(parsePatch(clonePlain(patches)))
  if (expected !== undefined) t.same(document.value, expected)
  t.ok(isEqual(document.value, seen), 'the patches do what the draft showed')
  t.equal(document.size, Buffer.byteLength(JSON.stringify(document.value)))
  t.ok(isEqual(applyPatch(root, patches), seen))
  return patches
}

t.test('draft: edits of objects', async t => {
  const root = { a: 1, o: { x: 1, y: [1] }, n: null }
  t.same(check(root, d => { d.a = 2; d.b = { c: 1 }; delete d.n; d.o.x++ }), [
    { op: 'replace', path: '/a', value: 2 }, { op: 'add', path: '/b', value: { c: 1 } },
    { op: 'remove', path: '/n' }, { op: 'replace', path: '/o/x', value: 2 }])
  t.same(check(root, d => { d.a = 1; d.n = null; d.missing = undefined; delete d.other; d.o = d.o; d.o.y[0] = 1 }), [], 'nothing changes') // eslint-disable-line no-self-assign
  t.same(check(root, d => { d.a = undefined }), [{ op: 'remove', path: '/a' }])
  t.same(check(root, d => { Object.assign(d.o, { x: 2, 'a/b': 3 }) }),
    [{ op: 'replace', path: '/o/x', value: 2 }, { op: 'add', path: '/o/a~1b', value: 3 }])
  t.same(check(root, d => { Object.defineProperty(d, 'a', { value: 5 }) }), [{ op: 'replace', path: '/a', value: 5 }])
  t.same(check(root, d => { d.alias = d.o; d.alias.x = 2; d.o.y.push(2) }), [{ op: 'add', path: '/alias', value: { x: 2, y: [1, 2] } },
    { op: 'replace', path: '/o/x', value: 2 }, { op: 'add', path: '/o/y/1', value: 2 }], 'one object at two places is written to both')
  t.same(check(root, d => { const fresh = d.fresh = { list: [] as number[], o: d.o }; fresh.list.push(1); fresh.o.x = 3 }), [
    { op: 'add', path: '/fresh', value: { list: [1], o: { x: 3, y: [1] } } }, { op: 'replace', path: '/o/x', value: 3 }])
  t.same(check(root, d => { d.o = { ...d.o, x: 2 } }), [{ op: 'replace', path: '/o/x', value: 2 }])
  t.same(check(root, d => { d.o = { x: 1, y: [1] } }), [], 'an equal object')
  t.same(check(root, d => { d.o = { x: 2, z: 1 } }), [{ op: 'replace', path: '/o', value: { x: 2, z: 1 } }], 'another object')
  t.same(check(root, d => { const { x, ...rest } = d.o; d.o = rest }), [{ op: 'remove', path: '/o/x' }])
  t.same(check(root, d => { (d.index ??= {}).a ??= []; d.index.a.push(1); d.o.y.push(2) }), [
    { op: 'add', path: '/index', value: { a: [1] } }, { op: 'add', path: '/o/y/1', value: 2 }])
  const back = check({ a: 1, b: 2 }, d => { const { a } = d; delete d.a; d.a = a })
  t.equal(JSON.stringify(applyPatch({ a: 1, b: 2 }, back)), '{"b":2,"a":1}', 'a member that comes back comes last')
  t.same(check(root, d => { d.t = new Date(0) }), [{ op: 'add', path: '/t', value: '1970-01-01T00:00:00.000Z' }])
  check(root, d => { d.o = { ...d.o, z: [d.o, { o: d.o.y }] } })
  check(root, d => { delete d.a; d.a = { again: 1 }; delete d.o; d.o = 1 })
})

t.test('draft: edits of arrays', async t => {
  const root = { list: [{ id: 0 }, { id: 1 }, { id: 2 }, { id: 3 }], n: [3, 1, 2] }
  const one = (recipe: (draft: any) => void) => check(root, d => { recipe(d) })
  t.same(one(d => t.equal(d.list.push({ id: 4 }, 5), 6)),
    [{ op: 'add', path: '/list/4', value: { id: 4 } }, { op: 'add', path: '/list/5', value: 5 }])
  t.same(one(d => t.same(d.list.pop(), { id: 3 })), [{ op: 'remove', path: '/list/3' }])
  t.same(one(d => t.same(d.list.shift(), { id: 0 })), [{ op: 'remove', path: '/list/0' }])
  t.same(one(d => t.equal(d.list.unshift(1), 5)), [{ op: 'add', path: '/list/0', value: 1 }])
  t.same(one(d => t.same(d.list.splice(1, 2, 'x'), [{ id: 1 }, { id: 2 }])),
    [{ op: 'remove', path: '/list/2' }, { op: 'replace', path: '/list/1', value: 'x' }])
  t.same(one(d => d.list.splice(-1, 0, 'x', 'y')),
    [{ op: 'add', path: '/list/3', value: 'x' }, { op: 'add', path: '/list/4', value: 'y' }])
  t.same(one(d => d.list.splice()), [])
  t.same(one(d => d.list.splice(2)), [{ op: 'remove', path: '/list/3' }, { op: 'remove', path: '/list/2' }])
  t.same(one(d => { d.list.length = 0 }), [{ op: 'replace', path: '/list', value: [] }])
  t.same(one(d => { d.n.length = 2 }), [{ op: 'remove', path: '/n/2' }])
  t.same(one(d => { d.n[4] = 9 }), [{ op: 'add', path: '/n/3', value: null }, { op: 'add', path: '/n/4', value: 9 }])
  t.same(one(d => { d.n.length = 4 }), [{ op: 'add', path: '/n/3', value: null }])
  t.same(one(d => { delete d.n[1]; delete d.n[99] }), [{ op: 'replace', path: '/n/1', value: null }])
  t.same(one(d => t.same(d.n.sort((a: number, b: number) => a - b), [1, 2, 3])), [{ op: 'move', from: '/n/0', path: '/n/2' }])
  t.same(one(d => d.list.sort(() => 0)), [], 'in order already')
  one(d => {
    d.n.length = 0
    d.n[1] = undefined
    t.same(Object.keys(d.n.sort()), ['0'], 'holes go last')
    d.n.length = 1
    d.n[0] = 1
  })
  t.same(one(d => d.n.reverse()), [{ op: 'replace', path: '/n/0', value: 2 }, { op: 'replace', path: '/n/2', value: 3 }])
  t.same(one(d => { d.list.reverse(); d.list[0].last = true }), [0, 1, 2].map((i) => ({ op: 'move', from: '/list/3', path: `/list/${i}` }))
    .concat([{ op: 'add', path: '/list/0/last', value: true } as any]))
  one(d => d.n.fill(7, 1))
  one(d => d.list.fill({ id: 9 }))
  one(d => d.list.copyWithin(0, 2))
  t.same(one(d => { d.list = d.list.filter((item: any) => item.id % 2 === 0); d.list[1].kept = true }),
    [{ op: 'remove', path: '/list/3' }, { op: 'remove', path: '/list/1' }, { op: 'add', path: '/list/1/kept', value: true }])
  t.same(one(d => { d.n = d.n.filter((n: number) => n === 1) }), [{ op: 'remove', path: '/n/2' }, { op: 'remove', path: '/n/0' }])
  t.same(one(d => { d.list = d.list.map((item: any) => item.id === 2 ? { ...item, on: true } : item) }), [{ op: 'add', path: '/list/2/on', value: true }])
  t.same(one(d => { [d.list[0], d.list[1]] = [d.list[1], d.list[0]]; d.list[0].x = 1 }),
    [{ op: 'move', from: '/list/1', path: '/list/0' }, { op: 'add', path: '/list/0/x', value: 1 }])
  t.same(one(d => { d.list.push({ id: 4 }); d.list.shift() }), [{ op: 'remove', path: '/list/0' }, { op: 'add', path: '/list/3', value: { id: 4 } }])
  t.same(one(d => { d.list.unshift(d.list.pop()); d.list.splice(2, 1) }), [{ op: 'remove', path: '/list/1' }, { op: 'move', from: '/list/2', path: '/list/0' }])
  one(d => { for (const item of d.list) item.id *= 10 })
  one(d => { d.list.find((item: any) => item.id === 2).id = 20 })
  const big = Array.from({ length: 200_000 }, (_, i) => i)
  const document = new Document({ big })
  t.same(record(document, (d: any) => { d.big.length = 0; d.big.push(1) }, 9), [{ op: 'replace', path: '/big', value: [1] }])
  t.equal(big.length, 200_000)
})

t.test('a child is the same draft, and stays the element that it is', async t => {
  const root = { list: [{ n: 0 }, { n: 1 }, { n: 2 }] }
  t.same(check(root, d => {
    const last = d.list[2]
    t.equal(last, d.list.at(-1))
    t.ok(d.list.includes(last))
    d.list.shift()
    last.n = 'last'
    d.list.unshift('x', 'y')
    last.m = 1
  }).filter(({ path }) => /[nm]$/.test(path)),
  [{ op: 'replace', path: '/list/3/n', value: 'last' }, { op: 'add', path: '/list/3/m', value: 1 }])
  check(root, d => {
    const [first, second] = d.list
    d.list.reverse()
    first.n = 'first'
    d.list.sort((a: any, b: any) => String(a.n) < String(b.n) ? -1 : 1)
    second.n = 'second'
  }, { list: [{ n: 'second' }, { n: 2 }, { n: 'first' }] })
})

t.test('draft: what was taken out can be changed and put back elsewhere', async t => {
  const root = { todo: [{ id: 1, tags: ['a'] }, { id: 2 }], done: [], o: { x: { y: 1 } } }
  t.same(check(root, d => {
    const item = d.todo.shift()
    item.done = true
    item.tags.pop()
    delete item.id
    d.done.push(item)
    item.tags.push('b')
    t.equal(d.done[0], item)
    t.equal(d.done.indexOf(item), 0)
    const { x } = d.o
    delete d.o.x
    x.y = 2
  }, { todo: [{ id: 2 }], done: [{ tags: ['b'], done: true }], o: {} }),
  [{ op: 'remove', path: '/todo/0' }, { op: 'add', path: '/done/0', value: { tags: ['b'], done: true } }, { op: 'remove', path: '/o/x' }])
})

t.test('draft: what was assigned is copied when the recipe has returned, and is the caller\'s again', async t => {
  const given = { list: [1], o: { x: 1 } }
  const document = new Document({ frozen: Object.freeze({ list: Object.freeze([Object.freeze({ a: 1 })]) }) })
  const patches = record(document, (d: any) => {
    d.given = given
    t.equal(d.given, given)
    given.list.push(2)
    d.given.o.x = 2
    d.frozen.list[0].a = 2
    d.frozen.list.push(d.frozen.list[0])
    t.match(inspect(d, { depth: 9 }), /frozen: \{ list: \[ \{ a: 2 \}, \{ a: 2 \} \] \}/)
  }, 9)
  given.list.push(3)
  given.o.x = 3
  t.same(patches, [{ op: 'add', path: '/given', value: { list: [1, 2], o: { x: 2 } } },
    { op: 'add', path: '/frozen/list/1', value: { a: 2 } }, { op: 'replace', path: '/frozen/list/0/a', value: 2 }])
  t.throws(() => record(document, (d: any) => { d.o = { d } }, 20), { code: 'INVALID_JSON', message: 'a cycle' })
})

t.test('a draft reads as the value does', async t => {
  const root = { b: { x: 1 }, a: [1, [2], { c: 3 }], toJSON: 1, then: 2, '': 3 }
  check(root, d => {
    t.equal(JSON.stringify(d), JSON.stringify(root))
    t.same(Object.keys(d), Object.keys(root))
    t.same(Object.entries({ ...d }).length, 5)
    t.ok('a' in d && !('z' in d) && 'toString' in d)
    t.ok(Array.isArray(d.a) && !Array.isArray(d.b))
    t.same([...d.a].length, 3)
    t.same(d.a.map((x: unknown) => typeof x), ['number', 'object', 'object'])
    t.same(d.a.concat([4]).length, 4)
    t.equal(d.hasOwnProperty('a'), true) // eslint-disable-line no-prototype-builtins
    t.equal(Object.getPrototypeOf(d), Object.prototype)
    t.not(Object.getOwnPropertyDescriptor(d, 'b')!.value, undefined)
    Object.getOwnPropertyDescriptor(d, 'b')!.value.x = 2
    t.equal(d.b.x, 2, 'a descriptor gives the draft')
    delete d.a
    t.notOk('a' in d)
    t.notOk(Object.hasOwn(d, 'a'))
    t.equal(d.a, undefined)
    t.same(Object.keys(d), ['b', 'toJSON', 'then', ''])
    d.a = 1
    t.same(Object.keys(d), ['b', 'toJSON', 'then', '', 'a'])
  })
})

t.test('draft: hostile members', async t => {
  t.equal(JSON.stringify(check({}, d => {
    d['__proto__'] = { a: 1 } // eslint-disable-line no-proto
    d['__proto__'].b = 2 // eslint-disable-line no-proto
    d.constructor = { c: 1 }
    d.constructor.c = 2
  }).at(-1)), '{"op":"add","path":"/constructor","value":{"c":2}}')
  check(JSON.parse('{"__proto__":{"a":[]}}'), d => { d['__proto__'].a.push(1); delete d['__proto__'] }, {}) // eslint-disable-line no-proto
  t.throws(() => check({}, d => { d['__proto__'].polluted = 1 }), TypeError) // eslint-disable-line no-proto
  t.throws(() => check([], d => { d['__proto__'].polluted = 1 }), TypeError) // eslint-disable-line no-proto
  t.equal(({} as Members).polluted, undefined)
})

t.test('draft: what JSON cannot hold is refused, and the document stays as it was', async t => {
  const text = '{"o":{"b":1,"a":[1]},"list":[1,2]}'
  const document = new Document(JSON.parse(text))
  const refused = (recipe: (draft: any) => unknown, error: Pick<Error, 'name'> | { code: string, message?: string } | { message: string }) => {
    t.throws(() => record(document, (d: any) => { delete d.o.b; d.list.shift(); recipe(d) }, 12), error)
    t.equal(JSON.stringify(document.value), text)
    t.equal(document.size, text.length)
  }
  for (const { value, code, path } of invalidValues) {
    refused(d => d.list.push(value()), { code, message: `at ${JSON.stringify(`/list/1${path}`)}:` })
    refused(d => { d.list[0] = value() }, { code, message: `at ${JSON.stringify(`/list/0${path}`)}:` })
    if (value() !== undefined) refused(d => { d.o.a[0] = value() }, { code: code as string })
    if (value() !== undefined) t.throws(() => record(document, () => value(), 10), { code: value() instanceof Promise ? 'ASYNC_RECIPE' : code })
  }
  refused(d => { d.o.deep = Array.from({ length: 1 }, () => JSON.parse('['.repeat(10) + ']'.repeat(10))) }, { code: 'TOO_DEEP' })
  for (let i = 0; i < 3; i++) refused(d => { d.o.a[0] = d; d.o.a[0].o.a[0] = d; d.o.a[0].o.a[0] = d; d.o.a[0] = d }, { code: 'INVALID_JSON', message: 'a cycle' })
  refused(d => { d[Symbol('s')] = 1 }, { code: 'INVALID_JSON' })
  refused(d => { d.list.name = 1 }, { code: 'INVALID_JSON', message: '"name"' })
  refused(d => Object.defineProperty(d, 'x', { get: () => 1 }), { code: 'INVALID_JSON' })
  refused(d => Object.setPrototypeOf(d, null), { code: 'INVALID_JSON' })
  refused(d => Object.freeze(d), { code: 'INVALID_JSON' })
  refused(d => { d.list[2_000_000] = 1 }, { name: 'RangeError' })
  refused(d => { d.list.length = 4e9 }, { name: 'RangeError' })
  refused(d => { d.list.length = -1 }, { name: 'RangeError' })
  refused(() => { throw new Error('mine') }, { message: 'mine' })
})

t.test('draft: a recipe that returns', async t => {
  t.same(check({ a: 1 }, () => ({ a: 1 })), [], 'an equal value')
  t.same(check({ a: 1, b: [1] }, d => ({ ...d, a: 2 })), [{ op: 'replace', path: '/a', value: 2 }])
  t.same(check({ a: 1 }, d => d), [])
  t.same(check({ a: { b: 1 } }, d => d.a, { b: 1 }), [{ op: 'replace', path: '', value: { b: 1 } }])
  t.same(check({ list: [{ id: 1 }, { id: 2 }], o: {} }, d => ({ list: d.list.filter((x: any) => x.id > 1), o: d.o })), [{ op: 'remove', path: '/list/0' }])
  t.same(check({ a: { x: 1 }, b: { x: 2 } }, d => ({ a: d.b, b: d.a })).length, 1)
  t.same(check([1], () => null), [{ op: 'replace', path: '', value: null }])
  t.same(check(1, n => n + 1), [{ op: 'replace', path: '', value: 2 }])
  t.same(check('a', text => text), [])
  const empty = new Document()
  t.same(record(empty, draft => { t.equal(draft, undefined) }, 9), [])
  t.same(record(empty, () => ({ a: 1 }), 9), [{ op: 'replace', path: '', value: { a: 1 } }])
  const document = new Document({ a: 1, list: [] })
  for (const recipe of [(d: any) => d.list.push(1), (d: any) => { d.a = 2; return {} }, (d: any) => (d.a = 1), (d: any) => delete d.a]) {
    t.throws(() => record(document, recipe, 9), { name: 'TypeError', code: 'RECIPE_RETURNED' })
  }
  t.throws(() => record(document, async (d: any) => { d.a = 2; throw new Error('handled') }, 9), { name: 'TypeError', code: 'ASYNC_RECIPE' })
  t.same(document.value, { a: 1, list: [] })
})

t.test('a draft is revoked when its recipe has returned', async t => {
  let leaked: any
  let child: any
  let push: any
  const document = new Document({ a: 1, list: [{ x: 1 }] })
  record(document, (d: any) => {
    leaked = d
    child = d.list[0]
    push = d.list.push
  }, 9)
  for (const use of [() => leaked.a, () => { leaked.a = 2 }, () => Object.keys(leaked), () => 'a' in leaked, () => JSON.stringify(child),
    () => delete child.x, () => push(1), () => { record(document, (d: any) => { d.a = child }, 9) }, () => Object.getPrototypeOf(child),
    () => Object.isExtensible(leaked), () => Object.freeze(leaked), () => ({ ...leaked }), () => record(document, () => leaked, 9)]) {
    t.throws(use, { name: 'TypeError', code: 'DRAFT_REVOKED' })
  }
  t.same(document.value, { a: 1, list: [{ x: 1 }] })
})

t.test('draft: a recording inside another, and after one that threw', async t => {
  const document = new Document({ a: 1, b: { c: 1 } })
  t.same(record(document, (outer: any) => {
    outer.a = 2
    t.same(record(document, (inner: any) => { inner.a++; delete inner.b.c; inner.o = outer }, 9), [
      { op: 'replace', path: '/a', value: 2 }, { op: 'add', path: '/o', value: { a: 2, b: { c: 1 } } }, { op: 'remove', path: '/b/c' }])
    t.throws(() => record(document, (inner: any) => { delete inner.b; throw new Error('x') }, 9))
    t.equal(JSON.stringify(outer), '{"a":2,"b":{"c":1}}')
    outer.b.c = 2
  }, 9).length, 2)
  t.equal(JSON.stringify(document.value), '{"a":1,"b":{"c":1}}')
})

// The law: any recipe, run on a draft and on a plain object, comes to the same.

const step = fc.record({
  kind: fc.constantFrom('set', 'set', 'change', 'delete', 'move', 'move', 'alias', 'fresh', 'spread', 'rest', 'default', 'edit', 'edit',
    'push', 'pop', 'shift', 'unshift', 'splice', 'splice', 'sort', 'reverse', 'fill', 'copyWithin', 'length', 'swap', 'swap', 'filter', 'map', 'search'),
  target: choice,
  other: choice,
  /** Whether a container that was met before is taken, wherever it may be by now. */
  held: fc.boolean(),
  key,
  start: fc.integer({ min: -4, max: 7 }),
  count: fc.integer({ min: -1, max: 4 }),
  value: json
})
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never

/** A recipe, step by step; all that it does is what anyone does to a plain object. */
class Recipe {
  readonly held: Container[] = []
  readonly root: Container

  constructor (root: Container) {
    this.root = root
  }

  #pick (choice: number, held: boolean): Container {
    const all = held && this.held.length > 0 ? this.held : containersOf(this.root)
    const picked = all[choice % all.length]!
    this.#hold(picked)
    return picked
  }

  #hold (value: unknown): void {
    if (isContainer(value) && this.held.length < 20) this.held.push(value)
  }

  #done (_result: unknown): void {}

  #set (target: Container, name: string, value: unknown): void {
    if (Array.isArray(target)) target[Number(name)] = value
    else putMember(target, name, value)
  }

  run ({ kind, target: choice, other, held, key, start, count, value: made }: Step): void {
    const value = clonePlain(made)
    const target = this.#pick(choice, held)
    const names = Object.keys(target)
    const name = names.length > 0 ? names[other % names.length]! : Array.isArray(target) ? '0' : key
    const index = Math.abs(start)
    const free = Array.isArray(target) ? String(index) : key
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- the others are below
    switch (kind) {
      case 'set': return this.#set(target, free, value)
      case 'change': return this.#set(target, name, value)
      case 'edit': return this.#set(target, Array.isArray(target) ? name : 'edited', other)
      case 'delete':
        this.#hold(getMember(target, name))
        delete (target as Members)[name]
        return
      case 'move':
      case 'alias': {
        const from = this.#pick(other, false)
        const at = Object.keys(from).find((at) => isContainer(getMember(from, at)))
        const child = at === undefined ? value : getMember(from, at)
        if (containersOf(child).includes(target)) return // or it would be a cycle
        if (kind === 'move' && at !== undefined) Array.isArray(from) ? from.splice(Number(at), 1) : delete from[at]
        this.#set(target, free, child)
        return this.#hold(child)
      }
      case 'fresh': {
        const fresh: Members = { old: containersOf(getMember(target, name)).includes(target) ? 0 : getMember(target, name) }
        this.#set(target, free, fresh)
        fresh.later = value
        return this.#hold(fresh)
      }
      case 'spread': {
        const child = getMember(target, name)
        if (isContainer(child)) this.#set(target, name, Array.isArray(child) ? [...child, value] : { ...child, a: value })
        return
      }
      case 'rest': {
        const child = getMember(target, name)
        if (!isContainer(child) || Array.isArray(child)) return
        const { a, ...rest } = child
        this.#hold(a)
        return this.#set(target, name, rest)
      }
      case 'default':
        if (!Array.isArray(target) && key !== '__proto__') this.#hold((target as any)[key] ??= value)
        return
    }
    if (Array.isArray(target)) this.#runOnArray(target, kind, { other, start, count, value })
  }

  #runOnArray (target: unknown[], kind: Step['kind'], { other, start, count, value }: Pick<Step, 'other' | 'start' | 'count' | 'value'>): void {
    const index = Math.abs(start)
    // eslint-disable-next-line @typescript-eslint/switch-exhaustiveness-check -- the others are above
    switch (kind) {
      case 'push': return this.#done(target.push(value, value))
      case 'pop': return this.#hold(target.pop())
      case 'shift': return this.#hold(target.shift())
      case 'unshift': return this.#done(target.unshift(value))
      case 'splice': return this.#hold(target.splice(start, count, ...(isContainer(value) ? Object.values(value) : [])).at(-1))
      case 'sort': return this.#done(target.sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      case 'reverse': return this.#done(target.reverse())
      case 'fill': return this.#done(target.fill(value, index))
      case 'copyWithin': return this.#done(target.copyWithin(0, index))
      case 'length':
        target.length = index
        return
      case 'swap':
        if (target.length > 0) [target[index % target.length], target[other % target.length]] = [target[other % target.length], target[index % target.length]]
        return
      case 'search': {
        const element: unknown = target[other % (target.length || 1)]
        if (element === undefined) return // a hole, maybe
        const found = target.indexOf(element)
        if (target[found] !== element || !target.includes(element) || target.lastIndexOf(element) < found) throw new Error('lost')
        if (!isContainer(element)) target.splice(found, 1)
        return
      }
      case 'filter':
      case 'map': {
        const parent = containersOf(this.root).find((container) => Object.values(container).includes(target))
        if (parent === undefined) return
        const at = Object.keys(parent).find((at) => getMember(parent, at) === target)!
        const kept = target.filter((_, i) => i % 3 !== count).map((element: unknown, i) =>
          kind === 'map' && i % 2 === 0 && isContainer(element) && !Array.isArray(element) ? { ...element, mapped: value } : element)
        this.#set(parent, at, kept)
        const first = kept.find(isContainer)
        if (first !== undefined) this.#set(first, Array.isArray(first) ? '0' : 'kept', other)
      }
    }
  }
}

const roots = fc.oneof(fc.array(json), json.map(value => ({ value, list: [value, { value }, { id: 1 }, [1], { id: 2 }, 5] })))

/** What is wrong with the patches, if anything. */
function faults (root: unknown, expected: string, patches: Operation[]): string | undefined {
  const document = new Document(clonePlain(root))
  document.apply(parsePatch(clonePlain(patches)))
  const wanted: unknown = JSON.parse(expected)
  if (!isEqual(document.value, wanted)) return `${JSON.stringify(document.value)} is not ${expected}`
  if (!isEqual(applyPatch(root, patches), wanted)) return 'applyPatch makes something else of it'
  if (document.size !== Buffer.byteLength(JSON.stringify(document.value))) return 'size'
  return undefined
}

t.test('any recipe makes of a draft what it makes of a plain object', async t => {
  let edited = 0
  let refused = 0
  fc.assert(fc.property(roots, fc.array(step, { minLength: 1, maxLength: 12 }), fc.boolean(), (made, steps, returns) => {
    const root = clonePlain(made) // in which nothing is twice
    const before = JSON.stringify(root)
    const plain = new Recipe(clonePlain(root))
    const recipe = (draft: Container): unknown => {
      // a new root may hold drafts, and must not be made beside edits of them
      if (returns) return Array.isArray(draft) ? [...draft.filter((_, i) => i % 2 === 0), steps.length] : { ...draft, list: [draft], more: steps.length }
      const drafted = new Recipe(draft)
      for (const step of steps) {
        drafted.run(step)
        plain.run(step)
        if (JSON.stringify(draft) !== JSON.stringify(plain.root)) throw new Error('a read does not see what was written')
      }
      return undefined
    }
    let patches: Operation[]
    try {
      patches = record({ value: root }, recipe as any, 1000)
    } catch (error: any) {
      // a list of the recipe's own that was made of one with holes
      if (error.code !== 'INVALID_JSON' || !error.message.includes('hold undefined')) throw error
      refused++
      return
    }
    if (JSON.stringify(root) !== before) throw new Error('the value was changed')
    if (patches.length > 0) edited++
    const fault = faults(root, JSON.stringify(returns ? recipe(clonePlain(root)) : plain.root), patches)
    if (fault !== undefined) throw new Error(`${fault}; ${JSON.stringify(patches)}`)
  }), { numRuns: 3000 })
  t.ok(edited > 1500 && refused < 300, `${edited} recordings with patches, ${refused} refused`)
})

t.test('draft: a patch is as small as the change, whatever the order', async () => {
  const big = (id: number) => ({ id, text: 'x'.repeat(1000) })
  fc.assert(fc.property(fc.integer({ min: 2, max: 40 }), fc.infiniteStream(fc.nat(1000)), fc.boolean(), (length, random, filters) => {
    const root = { list: Array.from({ length }, (_, id) => big(id)) }
    const next = (): number => random.next().value as number
    const swaps = Array.from({ length: next() % 8 }, () => [next() % length, next() % length] as const)
    const gone = new Set(Array.from({ length: filters ? next() % length : 0 }, () => next() % length))
    const recipe = (d: typeof root): void => {
      for (const [a, b] of swaps) [d.list[a], d.list[b]] = [d.list[b]!, d.list[a]!]
      if (filters) d.list = d.list.filter(({ id }) => !gone.has(id))
      if (d.list.length > 0) d.list[0]!.text = 'edited'
    }
    const plain = clonePlain(root)
    recipe(plain)
    const patches = record({ value: root }, recipe, 9)
    const fault = faults(root, JSON.stringify(plain), patches)
    if (fault !== undefined) throw new Error(fault)
    const moves = patches.filter(({ op }) => op === 'move').length
    const removals = patches.filter(({ op }) => op === 'remove').length
    return plain.list.length === 0 || (moves <= 2 * swaps.length && removals === gone.size && patches.length === moves + removals + 1)
  }), { numRuns: 500 })
})
