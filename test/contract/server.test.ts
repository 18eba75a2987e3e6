import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'
import { contract } from './contract.js'

const SECRET = 's3cret'
const changes = { direction: 'bidirectional', mode: 'json-patch' } as const

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: parameters and results are checked by the contract`, async (t) => {
    const handled: unknown[] = []
    const { ds, connect, logs } = await start(t, { contract, rateLimit: false })
    for (const method of ['add', 'trim', 'plain', 'slow']) ds.rpc.register(method, (params) => { handled.push(params); return method === 'add' ? 3 : method === 'plain' ? 1 : params })
    ds.rpc.register('wrong', () => ({ secret: SECRET }))
    ds.rpc.register('free', (params) => params)
    const wire = await connect()
    t.equal((await wire.call('add', { a: 1, b: 2 })).result, 3)
    t.same((await wire.call('trim', { text: ' x ', more: SECRET })).result, { text: 'x' }, 'a schema that transforms hands on what it makes')
    t.equal((await wire.call('slow', 'free')).result, 'free')
    t.equal((await wire.call('free', 'anything')).result, 'anything', 'a method that is not in the contract is open')
    handled.length = 0
    for (const [method, params] of [['add', { a: 1, b: SECRET }], ['add', null], ['add', [SECRET]], ['trim', { text: { SECRET } }], ['plain', { n: SECRET }], ['slow', 'taken'], ['slow', 5]] as const) {
      const { error } = await wire.call(method, params)
      t.match(error, { code: -32602, data: { code: 'INVALID_PARAMS', issues: [{ path: String, message: String }] } }, method)
      t.notMatch(JSON.stringify(error), SECRET)
    }
    t.strictSame(handled, [], 'no handler was called')
    t.match((await wire.call('wrong')).error, { code: -32603, data: { code: 'INTERNAL' } })
    await until(() => logs.some((line) => line.includes('does not match its schema') && line.includes('wrong')))
    t.notMatch(logs.join(''), SECRET, 'values are not logged')
    await t.rejects(ds.rpc.call('add', { a: 1 }), { code: -32602 }, 'in process too')
  })

  t.test(`${entrance}: a declared error travels with its details, which are checked`, async (t) => {
    const { ds, connect, logs } = await start(t, { contract, rateLimit: false })
    ds.rpc.register('add', (params, ctx) => {
      const { a } = params as { a: number }
      throw ctx.error(a === 1 ? 'OVERFLOW' : a === 2 ? 'UNKNOWN' : 'OVERFLOW', a === 3 ? { max: SECRET } : { max: 10 })
    })
    const wire = await connect()
    t.match((await wire.call('add', { a: 1, b: 0 })).error, { code: -32000, message: 'OVERFLOW', data: { code: 'OVERFLOW', details: { max: 10 } } })
    for (const a of [2, 3]) t.match((await wire.call('add', { a, b: 0 })).error, { code: -32603 }, 'a mistake of the handler')
    t.ok(logs.some((line) => line.includes('has no error \\"UNKNOWN\\"')))
  })

  t.test(`${entrance}: events of clients and of the server are checked, each direction by its own schema`, async (t) => {
    const heard: unknown[] = []
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    const { events, fanout } = ds.primitives
    for (const event of ['chat', 'tick', 'toServerOnly', 'toClientOnly', 'free']) events.on(event, ({ data }) => { heard.push(data) })
    const wire = await connect()
    wire.send(Opcode.EVENT_C2S, 0, { event: 'chat', data: { text: 'hello' } })
    wire.send(Opcode.EVENT_C2S, 0, { event: 'free', data: 'open' })
    await wire.ping()
    t.same(heard.splice(0), [{ text: 'hello' }, 'open'])
    for (const [event, data] of [['chat', { text: 'too long' }], ['chat', { text: 5 }], ['chat', undefined], ['tick', SECRET], ['toClientOnly', SECRET]] as const) {
      const { payload } = await wire.ask(Opcode.EVENT_C2S, { event, data })
      t.match(payload, { code: 'INVALID_VALUE', event, issues: [{ path: String, message: String }] }, event)
      t.notMatch(JSON.stringify(payload), SECRET)
    }
    const refused = { name: 'TypeError', code: 'INVALID_VALUE' }
    t.throws(() => { fanout.broadcast('chat', { text: 'hello' }) }, refused, 'by is missing')
    t.throws(() => { fanout.broadcast('toServerOnly', 'x') }, refused)
    t.throws(() => { events.emit('chat', { text: 'too long' }) }, refused)
    t.throws(() => { events.emit('toClientOnly', 'x') }, refused)
    t.strictSame(heard, [])
    fanout.broadcast('chat', { text: 'hello', by: 'ann', password: SECRET })
    t.same((await wire.nextOf(Opcode.EVENT_S2C)).payload.data, { text: 'hello', by: 'ann' }, 'members that the schema does not have stay here')
    events.emit('tick', 1)
    t.strictSame(heard, [1])
  })

  t.test(`${entrance}: nothing is stored or fanned out that a schema of state refuses`, async (t) => {
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    const { live, state } = ds.primitives
    await live.setState('dashboard', { visitors: 1 })
    await live.setState('room:7', { title: 'hall' })
    await live.setState('free', { anything: [1] })
    await live.setState('open', 5)
    const wire = await connect()
    for (const key of ['dashboard', 'room:7']) await wire.ask(Opcode.SUBSCRIBE, { key })
    const refused = { name: 'TypeError', code: 'INVALID_VALUE' }
    await t.rejects(live.setState('dashboard', { visitors: -1 }), refused)
    await t.rejects(live.setState('dashboard', { visitors: SECRET }), refused)
    await t.rejects(live.update('dashboard', (draft) => { (draft as { list: unknown[] }).list = ['a', 5] }), { ...refused, message: /\/list\/1/ })
    await t.rejects(live.update('dashboard', (draft) => { delete (draft as { visitors?: number }).visitors }), refused)
    await t.rejects(state.setState('dashboard', 'text'), refused)
    await t.rejects(live.setState('room:7', { title: 'too long' }), refused)
    await t.rejects(live.setState('room:8', { title: 5 }), refused)
    await wire.ping()
    t.notOk(wire.received.some(({ opcode }) => opcode === Opcode.STATE_PATCH))
    t.same(await live.getState('dashboard'), { visitors: 1 })
    t.equal(await live.getState('room:8'), undefined)
    await live.setState('people', { a: { name: 'ann' }, b: { name: 'bob' } })
    await live.update('people', (draft) => { delete (draft as Record<string, unknown>).a })
    t.same(await live.getState('people'), { b: { name: 'bob' } }, 'a member is removed')
    await t.rejects(live.update('people', (draft) => { delete (draft as { b: { name?: string } }).b.name }), refused)
    await live.update('dashboard', (draft) => { (draft as { list?: string[] }).list = ['a'] })
    t.match((await wire.nextOf(Opcode.STATE_PATCH)).payload, { key: 'dashboard', patches: [{ path: '/list' }] })
  })

  t.test(`${entrance}: pushes and CRDT operations are checked`, async (t) => {
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    const { live, crdt } = ds.primitives
    live.createSyncChannel({ key: 'dashboard', ...changes, initialValue: { visitors: 1 } })
    live.createSyncChannel({ key: 'room:own', direction: 'client-to-server', mode: 'json-patch', initialValue: { title: 'mine' } })
    live.createSyncChannel({ key: 'room:merged', direction: 'bidirectional', mode: 'crdt', initialValue: { title: 'all' } })
    t.throws(() => live.createSyncChannel({ key: 'room:bad', ...changes, initialValue: { title: 5 } }), { code: 'INVALID_VALUE' })
    t.throws(() => live.createSyncChannel({ key: 'room:two', ...changes, schema: {} }), { code: 'INVALID_OPTION', message: /contract/ })
    const wire = await connect()
    const push = async (key: string, patches: object[]): Promise<any> => {
      const { epoch, version } = (await wire.ask(Opcode.SUBSCRIBE, { key })).payload
      return (await wire.ask(Opcode.STATE_PUSH, { key, epoch, base: version, patches, push: { client: 'c', seq: ++seq } })).payload
    }
    let seq = 0
    t.match(await push('dashboard', [{ op: 'replace', path: '/visitors', value: 2 }]), { version: 2 })
    for (const value of [-1, 1.5, SECRET]) {
      const refusal = await push('dashboard', [{ op: 'replace', path: '/visitors', value }])
      t.match(refusal, { code: 'INVALID_VALUE', key: 'dashboard', message: /\/visitors/, issues: [{ path: '/visitors', message: String }] })
      t.notMatch(JSON.stringify(refusal), SECRET)
    }
    t.match(await push('room:own', [{ op: 'replace', path: '/title', value: 'far too long' }]), { code: 'INVALID_VALUE' })
    t.match(await push('room:own', [{ op: 'replace', path: '/title', value: 'ok' }]), { key: 'room:own' })
    t.same(await live.getState('dashboard'), { visitors: 2 })

    const op = async (key: string, given: object): Promise<any> => (await wire.ask(Opcode.CRDT_OP, { key, op: { nodeId: 'n', timestamp: Date.now(), ...given } })).payload
    t.match(await op('title', { type: 'lww-register', op: 'set', value: 'short' }), { key: 'title' })
    const wrong: Array<[string, object]> = [
      ['title', { type: 'lww-register', op: 'set', value: 'far too long' }],
      ['card:1', { type: 'lww-map', op: 'set', key: 'votes', value: SECRET }],
      ['card:1', { type: 'lww-map', op: 'set', key: 'unknown', value: 1 }],
      ['labels', { type: 'lww-map', op: 'set', key: 'any', value: 5 }],
      ['room:merged', { type: 'lww-map', op: 'set', key: 'title', value: 'far too long' }],
      ['room:merged', { type: 'lww-map', op: 'remove', key: 'title' }]
    ]
    for (const [key, given] of wrong) t.match(await op(key, given), { code: 'INVALID_VALUE', key }, JSON.stringify([key, given]))
    t.match(await op('likes', { type: 'lww-register', op: 'set', value: 1 }), { code: 'CONFLICT' }, 'the contract has it as another type')
    t.match(await op('room:9', { type: 'pn-counter', op: 'increment', value: 1 }), { code: 'UNKNOWN_KEY' }, 'a key of state is none for a CRDT')
    t.match(await op('card:1', { type: 'lww-map', op: 'set', key: 'votes', value: 5 }), { key: 'card:1' })
    t.match(await op('room:merged', { type: 'lww-map', op: 'set', key: 'title', value: 'new' }), { key: 'room:merged' })
    t.same(await crdt.getValue('card:1'), { votes: 5 })
    t.same(await crdt.getValue('room:merged'), { title: 'new' })
    await t.rejects(crdt.apply('title', { type: 'lww-register', op: 'set', value: 5 }), { name: 'TypeError', code: 'INVALID_VALUE' })
  })

  t.test(`${entrance}: hooks get the parameters of a key`, async (t) => {
    const seen: unknown[] = []
    const { ds, connect } = await start(t, { contract, rateLimit: false })
    ds.addHook('preSubscribe', (_ctx, { key, pattern, params }) => { seen.push([key, pattern, params]) })
    const wire = await connect()
    for (const key of ['room:7', 'dashboard', 'open']) await wire.ask(Opcode.SUBSCRIBE, { key })
    t.same(seen, [['room:7', 'room:{id}', { id: '7' }], ['dashboard', 'dashboard', {}], ['open', undefined, undefined]])
  })

  t.test(`${entrance}: a client with a version that is not accepted is closed with a code of its own`, async (t) => {
    const { url, connect } = await start(t, { contract })
    const { connect: dial } = await import('../helpers/wire.js')
    const old = await dial(`${url}?contract=5`)
    t.match(await old.closed, { code: 4426, reason: 'contract version 5 is not accepted: >=6' })
    for (const odd of ['x', '', '-1', '9'.repeat(500)]) t.match(await (await dial(`${url}?contract=${odd}`)).closed, { code: 4426 })
    const fresh = await dial(`${url}?contract=6`)
    await fresh.ping()
    await (await connect()).ping()
    await fresh.close()
  })

  t.test(`${entrance}: the contract is served as AsyncAPI where the options say so`, async (t) => {
    const { origin, ds } = await start(t, { contract, asyncapiPath: '/docs/asyncapi.json' })
    const served = await (await fetch(`${origin}/docs/asyncapi.json`)).json() as { channels: object, servers: object }
    t.same(served.channels, JSON.parse(JSON.stringify(ds.asyncapi().channels)))
    t.match(served.servers, { websocket: { protocol: 'ws', pathname: '/__ds' } })
    const { origin: other } = await start(t, { contract })
    t.equal((await fetch(`${other}/docs/asyncapi.json`)).status, 404)
  })
}

t.test('contract: a schema that does not compile fails the start, naming its place', async (t) => {
  const { DatasoleServer } = await import('../../plugins/server.js')
  const { defineContract } = await import('../../lib/contract/exports.js')
  for (const definition of [{ events: { e: { type: 'nonsense' } } }, { state: { k: { type: 'nonsense' } } }, { crdts: { k: { type: 'lww-register', value: { type: 'nonsense' } } } }]) {
    const ds = new DatasoleServer({ contract: defineContract(definition as never) })
    await t.rejects(ds.init(), { code: 'INVALID_OPTION', message: /contract: (events\.e|state\.k|crdts\.k)/ })
    await ds.close()
  }
})
