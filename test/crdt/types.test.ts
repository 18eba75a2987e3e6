import fc from 'fast-check'
import t from 'tap'
import type { CrdtOp, CrdtType } from '../../lib/crdt/crdt.js'
import { forgetOld } from '../../lib/crdt/forget.js'
import { crdtOf, isCrdtType, readOp } from '../../lib/crdt/types.js'
import { isEqual } from '../../lib/protocol/json.js'
import { seed } from '../helpers/random.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const NODES = ['a', 'b', '__proto__', 'd', 'e']
const FIELDS = ['x', 'y', '__proto__', 'constructor']

/** What nodes have done: each counts its own operations from 1, as clients do. */
const histories: Partial<Record<CrdtType, fc.Arbitrary<CrdtOp[]>>> = {
  'pn-counter': fc.array(fc.record({ node: fc.nat(4), op: fc.constantFrom('increment', 'decrement'), value: fc.nat(100) }), { maxLength: 60 }).map((made) => {
    const last = new Map<number, number>()
    return made.map(({ node, op, value }, i): CrdtOp => {
      const seq = (last.get(node) ?? 0) + 1
      last.set(node, seq)
      return { type: 'pn-counter', nodeId: NODES[node]!, timestamp: i, op: op as 'increment', value, seq }
    })
  }),
  'lww-register': fc.array(fc.record({ nodeId: fc.constantFrom(...NODES), timestamp: fc.nat(10), value: fc.nat(3) }), { maxLength: 40 })
    .map((made) => made.map((each): CrdtOp => ({ type: 'lww-register', op: 'set', ...each }))),
  'lww-map': fc.array(fc.record({ nodeId: fc.constantFrom(...NODES), timestamp: fc.nat(10), key: fc.constantFrom(...FIELDS), value: fc.option(fc.nat(3), { nil: undefined }) }), { maxLength: 60 })
    .map((made) => made.map(({ value, ...rest }): CrdtOp => value === undefined ? { type: 'lww-map', op: 'remove', ...rest } : { type: 'lww-map', op: 'set', value, ...rest }))
}

/** By the definition, and not by the code: what a history comes to. */
function expected (type: CrdtType, ops: CrdtOp[]): unknown {
  if (type === 'pn-counter') return ops.reduce((sum, { op, value }) => sum + (op === 'increment' ? value as number : -(value as number)), 0)
  const winner = (candidates: CrdtOp[]): CrdtOp | undefined => candidates.toSorted((a, b) => a.timestamp - b.timestamp || (a.nodeId < b.nodeId ? -1 : a.nodeId > b.nodeId ? 1 : String(a.value ?? '') < String(b.value ?? '') ? -1 : 1)).at(-1)
  if (type === 'lww-register') return winner(ops)?.value
  return Object.fromEntries(FIELDS.flatMap((field) => {
    const last = winner(ops.filter(({ key }) => key === field))
    return last === undefined || last.op === 'remove' ? [] : [[field, last.value]]
  }))
}

for (const [type, history] of Object.entries(histories) as Array<[CrdtType, fc.Arbitrary<CrdtOp[]>]>) {
  const { apply, empty, value } = crdtOf(type)
  t.test(`${type}: replicas that know the same are equal, whatever was repeated or late`, async (t) => {
    fc.assert(fc.property(history, fc.integer({ min: 2, max: 5 }), fc.infiniteStream(fc.nat(999)), (ops, count, random) => {
      const next = (below: number): number => random.next().value! % below
      const replicas = Array.from({ length: count }, empty)
      const inFlight = ops.flatMap((op) => replicas.map((_, at) => ({ op, at })))
      // some are lost, some come twice, all in any order
      for (let left = inFlight.length; left > 0; left--) {
        const { op, at } = inFlight.splice(next(inFlight.length), 1)[0]!
        const fate = next(10)
        if (fate > 2) apply(replicas[at]!, op)
        if (fate > 7) apply(replicas[at]!, op)
      }
      // what was lost is sent again
      for (const op of ops) for (const replica of replicas) apply(replica, op)
      return replicas.every((replica) => isEqual(value(replica) ?? null, expected(type, ops) ?? null) && isEqual({ ...replica }, { ...replicas[0]! }))
    }), { seed, numRuns: 300 })
    t.pass()
  })
}

t.test('pn-counter: the window, what is settled, and what is forgotten', async (t) => {
  const { apply, empty, value } = crdtOf('pn-counter')
  const op = (seq: number, more: Partial<CrdtOp> = {}): CrdtOp => ({ type: 'pn-counter', nodeId: 'a', timestamp: seq, op: 'increment', value: 1, seq, ...more })
  const state = empty()
  t.equal(apply(state, op(1000)), 'changed')
  t.equal(apply(state, op(1001)), 'early')
  t.equal(apply(state, op(1001, { settled: 999 })), 'changed', 'what is settled is waited for no more')
  t.equal(apply(state, op(7)), 'known')
  t.strictSame((state as { nodes: object }).nodes, { a: [1001, 2, 0, 1001] })
  t.equal(value(state), 2)
  forgetOld(state, 1002, 10)
  t.strictSame(state, { type: 'pn-counter', plus: 2, minus: 0, nodes: {}, floor: 1001 })
  t.equal(apply(state, op(1001)), 'late', 'a lost window counts nothing twice')
  t.equal(apply(state, op(1002, { settled: 1001 })), 'changed', 'and what is new goes on')
  t.equal(apply(state, op(1, { nodeId: 'new', timestamp: 2000 })), 'changed')
  t.equal(value(state), 4)
  forgetOld(state, 0, 1)
  t.strictSame(Object.keys((state as { nodes: object }).nodes), ['new'], 'the oldest beyond a number')
  t.equal(apply(state, op(2, { nodeId: 'new', timestamp: 2001, value: Number.MAX_SAFE_INTEGER })), 'full')
  t.equal(value(state), 4)
})

t.test('lww-map: removals are remembered, and what was forgotten is not undone', async (t) => {
  const { apply, empty, value } = crdtOf('lww-map')
  const state = empty()
  const write = (key: string, timestamp: number, v?: unknown): unknown => apply(state, { type: 'lww-map', nodeId: 'a', timestamp, key, ...(v === undefined ? { op: 'remove' } : { op: 'set', value: v }) })
  write('x', 1, 'one')
  write('x', 2)
  t.equal(write('x', 1, 'one'), 'known')
  write('y', 3)
  write('z', 4, 'kept')
  forgetOld(state, 3, 10)
  t.strictSame(Object.keys((state as { fields: object }).fields), ['y', 'z'])
  t.equal(write('x', 1, 'one'), 'late', 'an old write does not come back')
  t.equal(write('x', 1), 'known')
  t.equal(write('x', 3, 'new'), 'changed')
  forgetOld(state, 0, 0)
  t.strictSame(value(state), { z: 'kept', x: 'new' })
})

t.test('types: what is no operation', (t) => {
  fc.assert(fc.property(fc.anything(), (raw) => typeof readOp(raw) === 'string' || isCrdtType((raw as CrdtOp).type)), { seed })
  t.equal(isCrdtType('toString'), false)
  t.end()
})
