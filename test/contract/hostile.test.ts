import { type as ark } from 'arktype'
import t from 'tap'
import * as v from 'valibot'
import { z } from 'zod'
import { checkOf } from '../../lib/contract/check.js'
import { defineContract, type } from '../../lib/contract/exports.js'
import { stateCheckOf } from '../../lib/contract/state-check.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { workerCompiler } from '../../plugins/schema-compiler.js'
import { entrances } from '../helpers/entrances.js'

const compileJson = workerCompiler()
const compile = (_where: string, schema: object): ReturnType<typeof compileJson> => compileJson(schema)

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: a schema that throws for an event that waits refuses that event, and no other`, async (t) => {
    const heard: unknown[] = []
    const contract = defineContract({
      events: {
        slow: { toServer: v.pipeAsync(v.string(), v.checkAsync(async () => true)) },
        boom: { toServer: v.pipe(v.string(), v.transform((text) => JSON.parse(text) as unknown)) }
      }
    })
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    for (const event of ['slow', 'boom']) ds.primitives.events.on(event, ({ data }) => { heard.push(data) })
    const wire = await connect()
    wire.send(Opcode.EVENT_C2S, 1, { event: 'slow', data: 'first' })
    wire.send(Opcode.EVENT_C2S, 2, { event: 'boom', data: '{' })
    wire.send(Opcode.EVENT_C2S, 3, { event: 'boom', data: '[1]' })
    t.match((await wire.waitFor(({ id }) => id === 2)).payload, { code: 'INTERNAL', event: 'boom' })
    wire.send(Opcode.EVENT_C2S, 4, { event: 'slow', data: 'last' })
    await wire.ask(Opcode.EVENT_C2S, { event: 'boom', data: '{' })
    t.strictSame(heard, ['first', [1], 'last'])
  })

  t.test(`${entrance}: keys of a CRDT are none of state, and the other way round`, async (t) => {
    const contract = defineContract({ crdts: { title: { type: 'lww-register', value: z.string().max(5) }, likes: 'pn-counter' }, state: { count: z.number().max(10), map: z.record(z.string(), z.number()) } })
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    const { live, crdt } = ds.primitives
    await t.rejects(live.setState('title', { far: 'too long' }), { code: 'INVALID_VALUE' })
    t.throws(() => crdt.register('likes', 'lww-map'), { code: 'TYPE_MISMATCH' })
    t.throws(() => crdt.register('count', 'pn-counter'), { code: 'TYPE_MISMATCH' })
    live.createSyncChannel({ key: 'title', direction: 'bidirectional', mode: 'crdt', type: 'lww-register' })
    live.createSyncChannel({ key: 'count', direction: 'bidirectional', mode: 'crdt', initialValue: 8 })
    live.createSyncChannel({ key: 'map', direction: 'bidirectional', mode: 'crdt', initialValue: {} })
    const wire = await connect()
    const op = async (key: string, given: object): Promise<any> => (await wire.ask(Opcode.CRDT_OP, { key, op: { nodeId: 'n', timestamp: Date.now(), ...given } })).payload
    t.match(await op('title', { type: 'lww-register', op: 'set', value: 'far too long' }), { code: 'INVALID_VALUE' })
    const increments = await Promise.all([1, 2, 3].map((seq) => op('count', { type: 'pn-counter', op: 'increment', value: 2, seq })))
    t.equal(increments.filter(({ code }) => code === 'INVALID_VALUE').length, 2, 'at once, too')
    t.equal(await crdt.getValue('count'), 10)
    t.match(await op('map', { type: 'lww-map', op: 'set', key: '__proto__', value: 'bad' }), { code: 'INVALID_VALUE' })
    await t.rejects(crdt.apply('map', { type: 'lww-map', op: 'set', key: 'e', value: 'nonsense' }), { code: 'INVALID_VALUE' })
    t.same(await crdt.getValue('map'), {})
  })

  t.test(`${entrance}: a handler does not run for a client that has gone while its parameters were checked`, async (t) => {
    let check = (): void => {}
    const asked = new Promise<void>((resolve) => { check = resolve })
    let go = (): void => {}
    const contract = defineContract({ rpc: { wait: { params: z.string().refine(async () => { check(); await new Promise<void>((resolve) => { go = resolve }); return true }) } } })
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    let ran = false
    ds.rpc.register('wait', () => { ran = true })
    const gone = new Promise<void>((resolve) => { ds.addHook('onDisconnect', () => { resolve() }) })
    const wire = await connect()
    wire.send(Opcode.RPC_REQ, 1, { method: 'wait', params: 'x', correlationId: 1 })
    await asked
    wire.socket.terminate()
    await gone
    go()
    await new Promise(setImmediate)
    t.notOk(ran)
  })
}

t.test('hostile: several operations that move what they add are looked at as they end', async (t) => {
  const check = stateCheckOf({ type: 'object', properties: { list: { type: 'array', items: { type: 'string' } }, objs: { type: 'array', items: { type: 'object', properties: { x: { type: 'number' } } } } } }, 'k', compile)!
  t.ok(check({ list: ['a', 5, 'z'] }, ['/list/0', '/list/0']))
  t.ok(check({ list: ['z', 5, 'a'] }, ['/list/-', '/list/-']))
  t.ok(check({ objs: [{}, { x: 1 }, { x: 'bad' }] }, ['/objs/1/x', '/objs/0']))
  t.equal(check({ list: ['a', 'b'], objs: [{ x: 1 }] }, ['/list/0', '/objs/0/x']), undefined)
  const beside = stateCheckOf({ definitions: { l: { type: 'array', items: { type: 'string' } } }, type: 'object', properties: { l: { $ref: '#/definitions/l', maxItems: 2 } } }, 'k', compile)!
  t.equal(beside({ l: ['a', 'b', 'c'] }, ['/l/2']) !== undefined, beside({ l: ['a', 'b', 'c'] }) !== undefined, 'keywords beside a reference')
})

t.test('hostile: no message has the value, however it is written', async (t) => {
  const issuesOf = async (schema: object, value: unknown): Promise<string> => JSON.stringify(await checkOf(schema, 'k', compile)!(value))
  t.notMatch(await issuesOf(ark('number < 3'), 12345), '12345')
  t.notMatch(await issuesOf(ark({ a: 'string' }).narrow(() => false), { a: 's3cret' }), 's3cret')
  t.notMatch(await issuesOf(ark({ a: "'x'|'y'" }), { a: 's3c"ret' }), 's3c')
  t.notMatch(await issuesOf(z.strictObject({}), { s3cret: 1 }), 's3cret')
  t.ok((await issuesOf(z.record(z.string(), z.number()), { ['k'.repeat(400_000)]: 'x' })).length < 2000, 'paths are bounded')
})

t.test('hostile: values that libraries pass over are refused', async (t) => {
  const check = stateCheckOf(z.record(z.string(), z.number()), 'k', compile)!
  t.ok(check(JSON.parse('{"__proto__": "bad"}')))
  t.throws(() => defineContract({ state: { k: { '~standard': { version: 1, vendor: 'x' } } } }), { code: 'INVALID_CONTRACT' })
  t.equal(checkOf(type<string | undefined>(), 'k', compile), undefined)
})
