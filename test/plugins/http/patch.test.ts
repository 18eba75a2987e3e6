import t from 'tap'
import { object, number, string } from 'zod'
import { defineContract } from '../../../lib/contract/exports.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { type Answer, ask, httpEntrances, startFastify } from './start.js'

const TYPE = 'application/json-patch+json'
const patch = (url: string, json: unknown, headers: Record<string, string> = {}): Promise<Answer> => ask(url, { method: 'PATCH', json, type: TYPE, headers })
const replace = (path: string, value: unknown): object[] => [{ op: 'replace', path, value }]

for (const [entrance, start] of httpEntrances) {
  t.test(`patch, ${entrance}: a channel that clients push to`, async (t) => {
    const { api, ds } = await start(t, {
      prepare: (ds) => {
        ds.primitives.live.createSyncChannel({ key: 'board', direction: 'bidirectional', mode: 'json-patch', initialValue: { n: 1, list: ['a'] }, validate: (value) => (value as { n: number }).n < 10, maxBytes: 1000 })
        ds.primitives.live.createSyncChannel({ key: 'news', direction: 'server-to-client', mode: 'json-patch', initialValue: {} })
        ds.primitives.live.createSyncChannel({ key: 'form', direction: 'bidirectional', mode: 'snapshot', initialValue: {} })
        ds.primitives.live.createSyncChannel({ key: 'draft', direction: 'client-to-server', mode: 'json-patch', initialValue: {} })
        ds.addHook('prePush', async (ctx, { patches }) => { if (JSON.stringify(patches).includes('forbidden')) throw new Error(`not for ${ctx.connection.transport}`) })
      }
    })
    const url = `${api}/state/board`
    const done = await patch(url, replace('/n', 2))
    t.equal(done.status, 204)
    t.equal(done.headers.get('etag'), (await ask(url)).headers.get('etag'))
    t.match((await ask(url)).body, { n: 2 })

    const tag = done.headers.get('etag')!
    t.equal((await patch(url, replace('/n', 3), { 'if-match': tag })).status, 204)
    t.match(await patch(url, replace('/n', 4), { 'if-match': tag }), { status: 412, body: { statusCode: 412, code: 'CONFLICT' } })
    const newest = (await ask(url)).headers.get('etag')!
    for (const other of [`W/${newest}`, 'nonsense', '"a-1"', '']) t.equal((await patch(url, replace('/n', 4), { 'if-match': other })).status, 412, other)
    for (const known of ['*', `"a", ${newest}`]) t.equal((await patch(url, [], { 'if-match': known })).status, 204, known)
    t.equal((await patch(url, [])).headers.get('etag'), newest, 'nothing was changed')

    t.equal((await patch(url, [{ op: 'test', path: '/n', value: 3 }, { op: 'add', path: '/list/-', value: 'b' }, { op: 'move', from: '/list/0', path: '/first' }, { op: 'copy', from: '/n', path: '/m' }, { op: 'remove', path: '/n' }, { op: 'add', path: '/n', value: 5 }])).status, 204)
    t.strictSame((await ask(url)).body, { list: ['b'], first: 'a', m: 3, n: 5 })

    const refused = async (json: unknown, status: number, code: string): Promise<void> => { t.match(await patch(url, json), { status, body: { statusCode: status, code } }, JSON.stringify(json).slice(0, 100)) }
    await refused([{ op: 'test', path: '/n', value: 99 }], 422, 'INVALID_PATCH')
    await refused(replace('/missing/deep', 1), 422, 'INVALID_PATCH')
    await refused({ op: 'replace' }, 422, 'INVALID_PATCH')
    await refused('text', 422, 'INVALID_PATCH')
    await refused(replace('/n', 10), 422, 'INVALID_VALUE')
    await refused(replace('/text', 'a'), 422, 'INVALID_PATCH')
    await refused([{ op: 'add', path: '/text', value: 'a'.repeat(2000) }], 413, 'LIMIT_EXCEEDED')
    await refused([{ op: 'add', path: '/text', value: 'forbidden' }], 403, 'FORBIDDEN')
    await refused(Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/n', value: 5 })), 413, 'LIMIT_EXCEEDED')
    t.match(await patch(`${api}/state/form`, replace('', {})), { status: 422, body: { code: 'INVALID_PATCH' } }, 'it takes whole values')
    for (const key of ['news', 'draft', 'any']) t.match(await patch(`${api}/state/${key}`, replace('', {})), { status: 403, body: { code: 'NOT_ALLOWED', error: /set the option allowPatch/ } }, key)
    t.strictSame((await ask(url)).body, { list: ['b'], first: 'a', m: 3, n: 5 })
    t.equal(ds.transport.getConnectionCount(), 0)
  })
}

t.test('patch: clients on sockets hear of it', async (t) => {
  const { api, ds, connect } = await startFastify(t, { http: { allowPatch: true } })
  await ds.primitives.live.setState('board', { n: 1 })
  const wire = await connect()
  wire.send(Opcode.SUBSCRIBE, 1, { key: 'board' })
  await wire.nextOf(Opcode.STATE_SNAPSHOT)
  await patch(`${api}/state/board`, [{ op: 'replace', path: '/n', value: 2 }])
  t.match((await wire.nextOf(Opcode.STATE_PATCH)).payload, { key: 'board', from: 1, version: 2, patches: [{ op: 'replace', path: '/n', value: 2 }] })
})

t.test('patch: keys of server code, where the option allows it', async (t) => {
  const contract = defineContract({ state: { user: object({ name: string(), age: number() }), any: object({}).loose(), 'room:{id}': object({}).loose() } })
  const { api, ds } = await startFastify(t, {
    contract,
    authHandler: async (req) => ({ authenticated: true, userId: req.headers.authorization ?? 'nobody' }),
    http: { allowPatch: async ({ userId }, { key }) => userId === 'ann' && key !== 'other' },
    prepare: (ds) => {
      ds.primitives.live.register('room:0' as never)
      ds.addHook('prePush', (_ctx, { key, params }: any) => { if (key.startsWith('room:') && params.id === '0') throw new Error('no') })
    }
  })
  const ann = { authorization: 'ann' }
  await ds.primitives.live.setState('user', { name: 'Ann', age: 30 })
  t.equal((await patch(`${api}/state/user`, replace('/age', 31), ann)).status, 204)
  t.match(await patch(`${api}/state/user`, replace('/age', 'old'), ann), { status: 422, body: { code: 'INVALID_VALUE', issues: [{ path: '/age' }] } })
  t.match(await patch(`${api}/state/user`, replace('/age', 32)), { status: 403, body: { code: 'NOT_ALLOWED', error: /option allowPatch .* return true/ } })
  t.match(await patch(`${api}/state/other`, replace('', {}), ann), { status: 403 })
  t.strictSame(await ds.primitives.live.getState('user'), { name: 'Ann', age: 31 })

  t.equal((await patch(`${api}/state/any`, [{ op: 'add', path: '', value: { a: 1 } }], { ...ann, 'if-match': '*' })).status, 412, 'there is none yet')
  t.equal((await patch(`${api}/state/any`, [{ op: 'add', path: '', value: { a: 1 } }], ann)).status, 204)
  t.strictSame(await ds.primitives.live.getState('any'), { a: 1 })
  t.match(await patch(`${api}/state/room:0`, [{ op: 'add', path: '', value: {} }], ann), { status: 403, body: { code: 'FORBIDDEN' } })
  t.equal((await patch(`${api}/state/room:1`, [{ op: 'add', path: '', value: {} }], ann)).status, 204)
  t.match(await patch(`${api}/state/unknown`, [{ op: 'add', path: '', value: {} }], ann), { status: 204 }, 'the contract says nothing of it')
})

t.test('patch: state of the server alone stays so, whatever the option allows', async (t) => {
  const { api, ds } = await startFastify(t, { http: { allowPatch: true } })
  await ds.primitives.state.setState('secret', { n: 1 })
  const url = `${api}/state/secret`
  for (const json of [[], replace('/n', 2), [{ op: 'add', path: '', value: { n: 2 } }]]) {
    t.match(await patch(url, json), { status: 404, body: { statusCode: 404, code: 'UNKNOWN_KEY' } })
    t.equal((await ask(url)).status, 404, 'clients still cannot read it')
  }
  t.strictSame(await ds.primitives.state.getState('secret'), { n: 1 })
  const [shown, patched] = await Promise.all([ds.primitives.live.setState('secret', { n: 2 }), patch(url, replace('/n', 3))])
  t.ok(shown)
  t.equal(patched.status, 204, 'server code has shown it')
  t.strictSame((await ask(url)).body, { n: 3 })
})

t.test('patch: of many at once with If-Match one wins, and without it all count', async (t) => {
  const { api, ds } = await startFastify(t, { http: { allowPatch: true } })
  await ds.primitives.live.setState('list', [])
  const tag = (await ask(`${api}/state/list`)).headers.get('etag')!
  const append = (n: number, headers = {}): Promise<Answer> => patch(`${api}/state/list`, [{ op: 'add', path: '/-', value: n }], headers)
  const statuses = (await Promise.all(Array.from({ length: 20 }, (_, n) => append(n, { 'if-match': tag })))).map(({ status }) => status)
  t.strictSame(statuses.sort(), [204, ...Array.from({ length: 19 }, () => 412)])
  t.ok((await Promise.all(Array.from({ length: 20 }, (_, n) => append(n)))).every(({ status }) => status === 204))
  t.equal((await ask(`${api}/state/list`)).body.length, 21)
})
