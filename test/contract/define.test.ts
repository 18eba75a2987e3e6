import t from 'tap'
import { z } from 'zod'
import { Contract, defineContract } from '../../lib/contract/exports.js'
import { firstDifference, outlineOf } from '../../lib/contract/difference.js'

t.test('define: mistakes are refused, naming the place', async (t) => {
  const wrong: Array<[definition: unknown, message: RegExp]> = [
    [null, /the definition must be an object/],
    [{ methods: {} }, /unknown member methods/],
    [{ rpc: { add: { params: 'number' } } }, /rpc\.add\.params must be a Standard Schema/],
    [{ rpc: { add: { input: {} } } }, /rpc\.add has an unknown member input/],
    [{ rpc: { add: { errors: { E: 5 } } } }, /rpc\.add\.errors\.E/],
    [{ events: { chat: 5 } }, /events\.chat/],
    [{ events: { chat: { toServer: 5 } } }, /events\.chat\.toServer/],
    [{ state: { 'room:{': {} } }, /state\.room:\{ a brace/],
    [{ state: { 'room:{a}': {}, 'room:{b}': {} } }, /"room:\{a\}" and "room:\{b\}"/],
    [{ state: { '': {} } }, /empty name/],
    [{ crdts: { likes: 'counter' } }, /crdts\.likes must be of type/],
    [{ crdts: { likes: { type: 'pn-counter', value: {} } } }, /crdts\.likes\.value/],
    [{ crdts: { k: 'yjs' }, state: { k: {} } }, /crdts\.k is already a key of state/],
    [{ version: 1.5 }, /version/],
    [{ accepts: '>=1' }, /accepts needs a version/],
    [{ version: 2, accepts: '^1' }, /accepts "\^1" is not a comparator/]
  ]
  for (const [definition, message] of wrong) t.throws(() => defineContract(definition as never), { code: 'INVALID_CONTRACT', message }, String(message))
})

t.test('define: versions of clients are accepted by comparators', async (t) => {
  const accepts = (range: string): number[] => {
    const contract = defineContract({ version: 7, accepts: range })
    return Array.from({ length: 10 }, (_, i) => i).filter((version) => contract.isAccepted(version))
  }
  t.same(accepts('>=6'), [6, 7, 8, 9])
  t.same(accepts('>5 <8'), [6, 7])
  t.same(accepts('2 || >=8 <=8'), [2, 8])
  t.same(Array.from({ length: 10 }, (_, i) => i).filter((version) => defineContract({ version: 7 }).isAccepted(version)), [7], 'by default its own')
  t.ok(defineContract({}).isAccepted(5))
})

t.test('define: a contract is known as one, of another copy of the package too', async (t) => {
  t.ok(Contract.isContract(defineContract({})))
  t.ok(Contract.isContract({ [Symbol.for('datasole.contract')]: true }))
  for (const other of [undefined, null, 5, {}, { rpc: {} }]) t.notOk(Contract.isContract(other))
})

t.test('define: two contracts differ where the first difference is named', async (t) => {
  const base = { rpc: { add: { params: z.object({ a: z.number() }) } }, events: { e: z.string() }, state: { k: { type: 'number' } }, crdts: { c: 'pn-counter' } } as const
  const difference = (other: object): string | undefined => firstDifference(outlineOf(defineContract(base)), outlineOf(defineContract({ ...base, ...other })))
  t.equal(difference({}), undefined)
  t.equal(difference({ rpc: { add: { params: z.object({ a: z.number() }) } } }), undefined, 'the same, written twice')
  t.match(difference({ rpc: { add: { params: z.object({ a: z.string() }) } } }), /^rpc\.add\.params differs/)
  t.match(difference({ rpc: { add: { params: { type: 'object' } } } }), /^rpc\.add\.params differs/)
  t.match(difference({ events: {} }), /^events\.e\.toServer is missing/)
  t.match(difference({ state: { ...base.state, more: {} } }), /^state\.more is only/)
  t.match(difference({ crdts: { c: 'yjs' } }), /^crdts\.c\.type differs/)
  t.match(difference({ version: 1 }), /^version differs/)
})
