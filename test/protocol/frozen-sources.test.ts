import fc from 'fast-check'
import t from 'tap'
import { diff } from '../../lib/protocol/diff.js'
import { Document } from '../../lib/protocol/document.js'
import { record } from '../../lib/protocol/draft.js'
import { deepFreeze } from '../../lib/protocol/frozen.js'
import { isFrozenJson } from '../../lib/protocol/frozen-sources.js'
import { type Container, clonePlain, isContainer, isEqual, type Members } from '../../lib/protocol/json.js'
import { applyPatch } from '../../lib/protocol/patch.js'
import { DEEP, choice, containersOf, json, operationSeeds, operationsOn } from './arbitrary-json.js'

/** Freezes the members as well, but only those that are plain. */
function frozen<T extends Container> (value: T): T {
  for (const member of Object.values(value)) if (isContainer(member)) frozen(member)
  return Object.freeze(value)
}

t.test('only JSON that nobody can change any more counts as frozen', async (t) => {
  const nested = (levels: number): unknown => Object.freeze(levels === 1 ? [] : [nested(levels - 1)])
  const cycle: unknown[] = []
  cycle.push({ list: cycle }, { list: cycle })
  const changing = Object.defineProperty([1], 0, { get: () => Math.random(), enumerable: true })
  for (const [name, value] of Object.entries<unknown>({
    scalars: frozen([1, 'a', true, null, -0]),
    members: frozen({ a: { b: [{}] }, gone: undefined }),
    'no prototype': frozen(Object.assign(Object.create(null), { a: 1 })),
    'the deepest': nested(10)
  })) t.ok(isFrozenJson(value, 10), name)
  for (const [name, value] of Object.entries<unknown>({
    open: {},
    'open inside': Object.freeze({ a: {} }),
    sealed: Object.seal({ a: 1 }),
    'an accessor': Object.freeze({ get a () { return 1 } }),
    // eslint-disable-next-line accessor-pairs
    'a setter': Object.freeze({ set a (_: number) {} }),
    'an accessor in an array': Object.freeze(changing),
    toJSON: frozen({ toJSON: () => 1 }),
    'a class': Object.freeze(new (class A { a = 1 })()),
    'a kind of array': Object.freeze(new (class B extends Array {})()),
    'a date inside': frozen({ at: new Date(0) }),
    'a map inside': frozen([new Map()]),
    // eslint-disable-next-line no-sparse-arrays
    'a hole': frozen([, 1]),
    undefined: frozen([undefined]),
    'not a number': frozen([NaN]),
    'a bigint': frozen({ a: 1n }),
    depth: nested(11)
  })) t.notOk(isFrozenJson(value, 10), name)
  cycle.forEach((member) => Object.freeze(member))
  t.notOk(isFrozenJson(Object.freeze(cycle)), 'a cycle')
  const later = { a: {} }
  t.notOk(isFrozenJson(Object.freeze(later)))
  t.ok(isFrozenJson(frozen(later)), 'what was frozen since')
  t.notOk(isFrozenJson(nested(8), 7))
})

/** Sets values, as a store does. */
class Holder {
  readonly document: Document
  constructor (value: unknown) { this.document = new Document(clonePlain(value)) }

  diff (value: unknown): ReturnType<typeof diff> {
    return diff(this.document.value, value, DEEP, this.document.sources)
  }

  set (value: unknown): number {
    const patches = this.diff(value)
    this.document.apply(clonePlain(patches))
    return patches.length
  }
}

/** A frozen object that counts how often its members are looked at. */
function watched (): { value: Members, looks: () => number } {
  let count = 0
  const value = new Proxy(Object.freeze({ a: 1, b: 2 }), {
    ownKeys: (target) => {
      count++
      return Reflect.ownKeys(target)
    }
  })
  return { value, looks: () => count }
}

t.test('nobody looks into a frozen value that is given again', async (t) => {
  for (const wrap of [(value: Members) => ({ other: 1, list: [1, value, 2] }), (value: Members) => ({ other: 1, deep: { x: { value } } })]) {
    const { value, looks } = watched()
    const holder = new Holder(wrap({ a: 1, b: 2 }))
    t.equal(holder.set(wrap(value)), 0)
    const before = looks()
    t.ok(before > 0)
    t.equal(holder.set({ ...wrap(value), other: 2 }), 1)
    t.equal(holder.set(wrap(value)), 1)
    t.equal(looks(), before, 'also beside what changes')
    const place = 'list' in wrap(value) ? '/list/1' : '/deep/x/value'
    holder.document.apply([{ op: 'replace', path: `${place}/a`, value: 7 }])
    t.equal(holder.set(wrap(value)), 1, 'another writer has changed it')
    t.ok(looks() > before)
    t.equal(holder.set(wrap(value)), 0)
    holder.document.apply([{ op: 'replace', path: place, value: { a: 1, b: 3 } }])
    t.equal(holder.set(wrap(value)), 1, 'or replaced it')
  }
})

t.test('a frozen element is known wherever it stands', async (t) => {
  const { value, looks } = watched()
  const rest = Array.from({ length: 20 }, (_, n) => ({ n }))
  const holder = new Holder([...rest, { a: 1, b: 2 }])
  t.equal(holder.set([...rest, value]), 0)
  const before = looks()
  t.equal(holder.set([...rest.slice(1), value]), 1)
  t.equal(holder.set([...rest.slice(1, 9), 'new', ...rest.slice(9), value]), 1)
  t.equal(holder.set([...rest.slice(1, 9), 'new', ...rest.slice(9), value, 1]), 1)
  t.equal(looks(), before)
})

t.test('what is frozen, and can change all the same, is looked at every time', async (t) => {
  let n = 0
  const counter = Object.freeze({ get n () { return n } })
  const dated = Object.freeze({ at: new Date(0) })
  const holder = new Holder({ counter: { n: 0 }, dated: { at: new Date(0).toJSON() } })
  const value = Object.freeze({ counter, dated })
  t.equal(holder.set(value), 0)
  t.equal(holder.set(value), 0)
  n = 1
  dated.at.setTime(1)
  t.equal(holder.set(value), 2)
  t.strictSame(holder.document.value, { counter: { n: 1 }, dated: { at: new Date(1).toJSON() } })
})

t.test('what is learnt is limited to values that are as deep as they may be there', async (t) => {
  const value = frozen({ a: { b: [{}] } })
  const { document } = new Holder(value)
  t.strictSame(diff(document.value, value, 4, document.sources), [])
  t.throws(() => diff(document.value, value, 3, document.sources), { code: 'TOO_DEEP' })
  t.strictSame(diff(document.value, value, 4, document.sources), [])
})

/** One thing that happens to a key. */
const step = fc.record({
  act: fc.constantFrom('set', 'set', 'set', 'again', 'update', 'patch', 'undo', 'mutate'),
  freezes: fc.constantFrom('all', 'some', 'none'),
  seeds: operationSeeds(),
  value: json,
  choice
})

t.test('a diff that knows frozen values gives what one gives that does not', async (t) => {
  let operations = 0
  let shared = 0
  fc.assert(fc.property(json, fc.array(step, { maxLength: 30 }), (first, steps) => {
    const holder = new Holder(first)
    const { document } = holder
    let given = first
    let before = new Set<Container>()
    const set = (value: unknown): void => {
      const patches = diff(document.value, value, DEEP)
      if (JSON.stringify(holder.diff(value)) !== JSON.stringify(patches)) throw new Error('another patch')
      operations += patches.length
      document.apply(clonePlain(patches))
      if (!isEqual(document.value, clonePlain(value))) throw new Error('another value')
      const theirs = new Set(containersOf(value))
      for (const container of theirs) if (before.has(container) && Object.isFrozen(container)) shared++
      before = theirs
      for (const container of [...containersOf(document.value), ...containersOf(patches)]) if (theirs.has(container)) throw new Error('it keeps what is the caller\'s')
    }
    for (const { act, freezes, seeds, value, choice } of steps) {
      if (act === 'set' || act === 'undo') {
        try {
          given = applyPatch(given, clonePlain(operationsOn(given, seeds))) // shares what the edits leave alone
        } catch {
          given = value
        }
        if (freezes === 'all') given = deepFreeze(given)
        else if (freezes === 'some') deepFreeze(containersOf(given)[choice])
        const mark = document.mark()
        set(given)
        if (act === 'undo') set(given)
        if (act === 'undo') document.rollback(mark)
        else document.release()
      } else if (act === 'again') {
        set(given)
      } else if (act === 'mutate') {
        const open = containersOf(given).find((container) => !Object.isFrozen(container))
        if (open !== undefined && !Array.isArray(open)) open['mutated'] = choice
      } else if (act === 'update') {
        document.apply(record(document, (draft) => { if (isContainer(draft) && !Array.isArray(draft)) draft['n'] = choice }, DEEP))
      } else {
        for (const operation of operationsOn(document.value, seeds)) {
          try {
            document.apply([clonePlain(operation)])
          } catch {
            // as a writer who is refused
          }
        }
      }
    }
    set(given)
  }), { numRuns: 500 })
  t.ok(operations > 500 && shared > 500, `${operations} operations, ${shared} frozen containers given again`)
  t.comment(`${operations} operations, ${shared} frozen containers given again`)
})
