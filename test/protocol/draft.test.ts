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

t.test('edits of objects', async t => {
  const root = { a: 1, o: { x: 1, y: [1] }, n: null }
  t.same(check(root, d => { d.a = 2; d.b = { c: 1 }; delete d.n; d.o.x++ }), [
    { op: 'replace', path: '/a', value: 2 }, { op: 'add', path: '/b', value: { c: 1 } },
    { op: 'remove', path: '/n' }, { op: 'replace', path: '/o/x', value: 2 }])
  t.same(check(root, d => { d.a = 1; d.n = null; d.missing = undefined; delete d.other; d.o = d.o; d.o.y[0] = 1 }), [], 'nothing changes') // eslint-disable-line no-self-assign
  t.same(check(root, d => { d.a = undefined }), [{ op: 'remove', path: '/a' }])
  t.same(check(root, d => { Object.assign(d.o, { x: 2, 'a/b': 3 }) }),
    [{ op: 'replace', path: '/o/x', value: 2 }, { op: 'add', path: '/o/a~1b', value: 3 }])
  t.same(check(root, d => { Object.defineProperty(d, 'a', { value: 5 }) }), [{ op: 'replace', path: '/a', value: 5 }])
  t.same(check(root, d => { d.copy = d.o; d.copy.x = 2; d.o.y.push(2) }, { ...root, o: { x: 1, y: [1, 2] }, copy: { x: 2, y: [1] } }).length, 3)
  t.same(check(root, d => { d.o.self = d }, { ...root, o: { ...root.o, self: root } }).length, 1)
  t.same(check(root, d => { d.fresh = { list: [] }; d.fresh.list.push(1) }), [
    { op: 'add', path: '/fresh', value: { list: [] } }, { op: 'add', path: '/fresh/list/0', value: 1 }])
  t.same(check(root, d => { d.t = new Date(0) }), [{ op: 'add', path: '/t', value: '1970-01-01T00:00:00.000Z' }])
  check(root, d => { d.o = { ...d.o, z: [d.o, { o: d.o.y }] } })
  check(root, d => { delete d.a; d.a = { again: 1 }; delete d.o; d.o = 1 })
})

t.test('edits of arrays', async t => {
  const root = { list: [{ id: 0 }, { id: 1 }, { id: 2 }, { id: 3 }], n: [3, 1, 2] }
  const one = (recipe: (draft: any) => void) => check(root, d => { recipe(d) })
  t.same(one(d => t.equal(d.list.push({ id: 4 }, 5), 6)),
    [{ op: 'add', path: '/list/4', value: { id: 4 } }, { op: 'add', path: '/list/5', value: 5 }])
  t.same(one(d => t.same(d.list.pop(), { id: 3 })), [{ op: 'remove', path: '/list/3' }])
  t.same(one(d => t.same(d.list.shift(), { id: 0 })), [{ op: 'remove', path: '/list/0' }])
  t.same(one(d => t.equal(d.list.unshift(1), 5)), [{ op: 'add', path: '/list/0', value: 1 }])
  t.same(one(d => t.same(d.list.splice(1, 2, 'x'), [{ id: 1 }, { id: 2 }])),
    [{ op: 'replace', path: '/list/1', value: 'x' }, { op: 'remove', path: '/list/2' }])
  t.same(one(d => d.list.splice(-1, 0, 'x', 'y')),
    [{ op: 'add', path: '/list/3', value: 'x' }, { op: 'add', path: '/list/4', value: 'y' }])
  t.same(one(d => d.list.splice()), [])
  t.same(one(d => d.list.splice(2)), [{ op: 'remove', path: '/list/3' }, { op: 'remove', path: '/list/2' }])
  t.same(one(d => { d.list.length = 0 }), [{ op: 'replace', path: '/list', value: [] }])
  t.same(one(d => { d.n.length = 2 }), [{ op: 'remove', path: '/n/2' }])
  t.same(one(d => { d.n[4] = 9 }), [{ op: 'add', path: '/n/3', value: null }, { op: 'add', path: '/n/4', value: 9 }])
  t.same(one(d => { d.n.length = 4 }), [{ op: 'add', path: '/n/3', value: null }])
  t.same(one(d => { delete d.n[1]; delete d.n[99] }), [{ op: 'replace', path: '/n/1', value: null }])
  t.same(one(d => t.same(d.n.sort((a: number, b: number) => a - b), [1, 2, 3])), [{ op: 'replace', path: '/n', value: [1, 2, 3] }])
  t.same(one(d => d.list.sort(() => 0)), [], 'in order already')
  t.same(one(d => d.n.reverse()), [{ op: 'replace', path: '/n', value: [2, 1, 3] }])
  one(d => d.n.fill(7, 1))
  one(d => d.list.fill({ id: 9 }))
  one(d => d.list.copyWithin(0, 2))
  one(d => { d.list = d.list.filter((item: any) => item.id % 2 === 0) })
  one(d => { [d.list[0], d.list[1]] = [d.list[1], d.list[0]] })
  one(d => { for (const item of d.list) item.id *= 10 })
  one(d => { d.list.find((item: any) => item.id === 2).id = 20 })
  const big = Array.from({ length: 200_000 }, (_, i) => i)
  const document = new Document({ big })
  t.equal(record(document, (d: any) => { d.big.length = 0; d.big.push(1) }, 9).length, 2)
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
  [{ op: 'replace', path: '/list/1/n', value: 'last' }, { op: 'add', path: '/list/3/m', value: 1 }])
  check(root, d => {
    const [first, second] = d.list
    d.list.reverse()
    first.n = 'first'
    d.list.sort((a: any, b: any) => String(a.n) < String(b.n) ? -1 : 1)
    second.n = 'second'
  }, { list: [{ n: 'second' }, { n: 2 }, { n: 'first' }] })
})

t.test('what was taken out can be changed and put back elsewhere', async t => {
  const root = { todo: [{ id: 1, tags: ['a'] }, { id: 2 }], done: [], o: { x: { y: 1 } } }
  t.same(check(root, d => {
    const item = d.todo.shift()
    item.done = true
    item.tags.pop()
    delete item.id
    d.done.push(item)
    item.lost = 'the draft is that of the old place'
    const { x } = d.o
    delete d.o.x
    x.y = 2
  }, { todo: [{ id: 2 }], done: [{ tags: [], done: true }], o: {} }),
  [{ op: 'remove', path: '/todo/0' }, { op: 'add', path: '/done/0', value: { tags: [], done: true } }, { op: 'remove', path: '/o/x' }])
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

t.test('hostile members', async t => {
  t.equal(JSON.stringify(check({}, d => {
    d['__proto__'] = { a: 1 } // eslint-disable-line no-proto
    d['__proto__'].b = 2 // eslint-disable-line no-proto
    d.constructor = { c: 1 }
    d.constructor.c = 2
  }).at(-1)), '{"op":"replace","path":"/constructor/c","value":2}')
  check(JSON.parse('{"__proto__":{"a":[]}}'), d => { d['__proto__'].a.push(1); delete d['__proto__'] }, {}) // eslint-disable-line no-proto
  t.throws(() => check({}, d => { d['__proto__'].polluted = 1 }), TypeError) // eslint-disable-line no-proto
  t.throws(() => check([], d => { d['__proto__'].polluted = 1 }), TypeError) // eslint-disable-line no-proto
  t.equal(({} as Members).polluted, undefined)
})

t.test('what JSON cannot hold is refused, and the document stays as it was', async t => {
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
  for (let i = 0; i < 3; i++) refused(d => { d.o.a[0] = d; d.o.a[0].o.a[0] = d; d.o.a[0].o.a[0] = d; d.o.a[0] = d }, { code: 'TOO_DEEP' })
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

t.test('a recipe that returns', async t => {
  t.same(check({ a: 1 }, () => ({ a: 1 })), [], 'an equal value')
  t.same(check({ a: 1, b: [1] }, d => ({ ...d, a: 2 })), [{ op: 'replace', path: '/a', value: 2 }])
  t.same(check({ a: 1 }, d => d), [])
  t.same(check({ a: { b: 1 } }, d => d.a, { b: 1 }).length, 2)
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

t.test('a recording inside another, and after one that threw', async t => {
  const document = new Document({ a: 1, b: { c: 1 } })
  t.same(record(document, (outer: any) => {
    outer.a = 2
    t.same(record(document, (inner: any) => { inner.a++; delete inner.b.c }, 9),
      [{ op: 'replace', path: '/a', value: 3 }, { op: 'remove', path: '/b/c' }])
    t.throws(() => record(document, (inner: any) => { delete inner.b; throw new Error('x') }, 9))
    t.equal(JSON.stringify(outer), '{"a":2,"b":{"c":1}}')
    outer.b.c = 2
  }, 9).length, 2)
  t.equal(JSON.stringify(document.value), '{"a":1,"b":{"c":1}}')
})

// The law: any edits, done to a draft and to a plain copy, come to the same.

const edit = fc.record({
  kind: fc.constantFrom('set', 'set', 'change', 'change', 'delete', 'move', 'push', 'pop', 'shift', 'unshift', 'splice', 'splice',
    'sort', 'reverse', 'fill', 'copyWithin', 'length'),
  target: choice,
  other: choice,
  /** Whether a container that was met before is taken, wherever it may be by now. */
  held: fc.boolean(),
  key,
  start: fc.integer({ min: -4, max: 7 }),
  count: fc.integer({ min: -1, max: 4 }),
  value: json
})
type Edit = typeof edit extends fc.Arbitrary<infer E> ? E : never

/** Does edits to a draft, or to plain JSON in the way in which a draft is meant to take them. */
class Editing {
  readonly held: Container[] = []
  readonly root: Container
  readonly plain: boolean

  constructor (root: Container, plain: boolean) {
    this.root = root
    this.plain = plain
  }

  #pick (choice: number, held: boolean): Container {
    const all = held && this.held.length > 0 ? this.held : containersOf(this.root)
    const picked = all[choice % all.length]!
    if (this.held.length < 20) this.held.push(picked)
    return picked
  }

  /** A draft copies what it is given. */
  #given (value: unknown): unknown {
    return this.plain ? clonePlain(value) : value
  }

  #set (target: Container, name: string | number, value: unknown): void {
    if (isContainer(value) && getMember(target, String(name)) === value) return // or it would be a copy
    const given = this.#given(value)
    if (Array.isArray(target) && this.plain) while (target.length < Number(name)) target.push(null)
    if (this.plain) putMember(target as Members, String(name), given)
    else (target as Members)[name] = given
  }

  run ({ kind, target: choice, other, held, key, start, count, value }: Edit): void {
    const target = this.#pick(choice, held)
    const existing = Object.keys(target)
    const name = existing.length > 0 ? existing[other % existing.length]! : key
    const index = Math.abs(start)
    if (!Array.isArray(target)) {
      if (kind === 'delete' || kind === 'shift' || kind === 'pop') delete target[name]
      else if (kind === 'move') this.#set(target, key, this.#pick(other, false))
      else if (kind === 'change' || kind === 'splice') this.#set(target, name, value)
      else this.#set(target, key, value)
      return
    }
    switch (kind) {
      case 'set': return this.#set(target, index, value)
      case 'change': return this.#set(target, existing.length > 0 ? name : 0, value)
      case 'move': return this.#set(target, index, this.#pick(other, false))
      case 'delete':
        if (index < target.length) this.plain ? target[index] = null : delete target[index]
        return
      case 'push':
        target.push(this.#given(value), this.#given(value))
        return
      case 'pop': return this.#hold(target.pop())
      case 'shift': return this.#hold(target.shift())
      case 'unshift':
        target.unshift(this.#given(value))
        return
      case 'splice': return this.#hold(target.splice(start, count, ...(isContainer(value) ? Object.values(value).map(v => this.#given(v)) : [])).at(-1))
      case 'sort':
        target.sort((a, b) => JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)
        return
      case 'reverse':
        target.reverse()
        return
      case 'fill':
        if (this.plain) for (let i = index; i < target.length; i++) target[i] = clonePlain(value)
        else target.fill(value, index)
        return
      case 'copyWithin':
        if (!this.plain) target.copyWithin(0, index)
        else if (index > 0) for (let i = index; i < target.length; i++) target[i - index] = clonePlain(target[i])
        return
      case 'length':
        if (this.plain) while (target.length < index) target.push(null)
        target.length = index
    }
  }

  #hold (removed: unknown): void {
    if (isContainer(removed)) this.held.push(removed)
  }
}

t.test('any edits of a draft come to what they come to on plain JSON', async t => {
  let edited = 0
  fc.assert(fc.property(fc.oneof(fc.array(json), json.map(value => ({ value, list: [value, { value }] }))),
    fc.array(edit, { minLength: 1, maxLength: 12 }), (root, edits) => {
      const document = new Document(clonePlain(root))
      const before = JSON.stringify(document.value)
      const plain = new Editing(clonePlain(root), true)
      const patches = record(document, (draft: Container) => {
        const drafted = new Editing(draft, false)
        for (const edit of edits) {
          drafted.run(edit)
          plain.run(edit)
          if (JSON.stringify(draft) !== JSON.stringify(plain.root)) throw new Error('a read does not see what was written')
        }
      }, 100)
      if (JSON.stringify(document.value) !== before) throw new Error('the document was changed')
      if (document.size !== Buffer.byteLength(before)) throw new Error('size')
      if (patches.length > 0) edited++
      document.apply(parsePatch(clonePlain(patches)))
      return JSON.stringify(document.value) === JSON.stringify(plain.root) &&
        document.size === Buffer.byteLength(JSON.stringify(plain.root)) &&
        JSON.stringify(applyPatch(JSON.parse(before), patches)) === JSON.stringify(plain.root)
    }), { numRuns: 700 })
  t.ok(edited > 350, `${edited} recordings with patches`)
})
