import t from 'tap'
import { object, string } from 'zod'
import { defineContract } from '../../../lib/contract/exports.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { until } from '../../helpers/until.js'
import { ask, httpEntrances, startFastify } from './start.js'

const users = async (req: { headers: { authorization?: string } }): Promise<{ authenticated: true, userId: string }> => ({ authenticated: true, userId: req.headers.authorization!.slice('Bearer '.length) })
const as = (user: string): { headers: Record<string, string> } => ({ headers: { authorization: `Bearer ${user}` } })

t.test('operator: without the options nothing is allowed', async (t) => {
  const { api } = await startFastify(t)
  const refused = { status: 403, body: { statusCode: 403, code: 'NOT_ALLOWED' } }
  t.match(await ask(`${api}/events/hello`, { method: 'POST', json: {} }), refused)
  t.match(await ask(`${api}/connections`), { ...refused, body: { ...refused.body, error: /allowConnections/ } })
  t.match(await ask(`${api}/connections?user=ann`, { method: 'DELETE' }), refused)
})

for (const [entrance, start] of httpEntrances) {
  t.test(`operator, ${entrance}: events, with a target`, async (t) => {
    const contract = defineContract({ events: { hello: { toClient: object({ text: string() }) } } })
    const { api, connect } = await start(t, { contract, authHandler: users, http: { allowBroadcast: ({ userId }, { event }) => userId === 'root' && event !== 'private' } })
    const [ann, bob] = await Promise.all([connect(as('ann')), connect(as('bob'))])
    const post = (event: string, json: unknown, user = 'root'): ReturnType<typeof ask> => ask(`${api}/events/${event}`, { method: 'POST', json, ...as(user) })
    t.equal((await post('hello', { data: { text: 'all' } })).status, 204)
    for (const wire of [ann, bob]) t.match((await wire.nextOf(Opcode.EVENT_S2C)).payload, { event: 'hello', data: { text: 'all' } })
    t.equal((await post('hello', { data: { text: 'ann' }, to: { user: 'ann' } })).status, 204)
    t.equal((await post('hello', { data: { text: 'others' }, except: { user: ['ann', 'root'] } })).status, 204)
    t.match((await ann.nextOf(Opcode.EVENT_S2C)).payload, { data: { text: 'ann' } })
    t.match((await bob.nextOf(Opcode.EVENT_S2C)).payload, { data: { text: 'others' } })

    t.match(await post('hello', { data: { text: 1 } }), { status: 422, body: { code: 'INVALID_VALUE', issues: [{ path: '/text' }] } })
    for (const json of [{ data: { text: 'a' }, too: {} }, { data: { text: 'a' }, to: { users: 'ann' } }, { data: { text: 'a' }, to: 'ann' }]) t.match(await post('hello', json), { status: 400, body: { code: 'INVALID_ARGUMENT' } }, JSON.stringify(json))
    t.match(await post('hello', ['a']), { status: 400, body: { code: 'BAD_FRAME' } })
    t.match(await ask(`${api}/events/hello`, { method: 'POST', ...as('root') }), { status: 415 })
    t.equal((await post('private', {})).status, 403)
    t.equal((await post('hello', {}, 'ann')).status, 403)
    t.equal(ann.received.filter(({ opcode }) => opcode === Opcode.EVENT_S2C).length, 0)
  })

  t.test(`operator, ${entrance}: connections are listed and closed`, async (t) => {
    const { api, connect, ds } = await start(t, {
      authHandler: users,
      http: { allowConnections: true, allowDisconnect: async ({ userId }) => userId === 'root' },
      prepare: (ds) => { ds.addHook('onConnect', (connection) => { connection.tags.add(`tag:${connection.userId!}`) }) }
    })
    const [ann, bob] = await Promise.all([connect(as('ann')), connect(as('bob')), connect(as('cyd'))])
    const all = await ask(`${api}/connections`, as('root'))
    t.match(all, { status: 200, body: { count: 3, missing: [] } })
    t.ok(all.body.connections.every(({ transport }: { transport: string }) => transport === 'websocket'), 'the request itself is not among them')
    t.equal(all.headers.get('cache-control'), 'no-store')
    t.match((await ask(`${api}/connections?limit=1`, as('root'))).body, { count: 3, connections: { length: 1 } })
    t.match((await ask(`${api}/connections?user=ann&tag=tag:bob`, as('root'))).body, { count: 2 })
    t.match((await ask(`${api}/connections?user=ann&user=bob`, as('root'))).body, { count: 2 })
    for (const query of ['usr=ann', 'limit=0', 'limit=x', 'limit=1&limit=2', 'limit=-1', 'limit=1e9']) t.match(await ask(`${api}/connections?${query}`, as('root')), { status: 400, body: { code: 'INVALID_ARGUMENT' } }, query)

    const end = (query: string, user = 'root'): ReturnType<typeof ask> => ask(`${api}/connections${query}`, { method: 'DELETE', ...as(user) })
    t.match(await end(''), { status: 400, body: { code: 'INVALID_ARGUMENT' } }, 'nobody means everybody')
    t.match(await end('?reason=all'), { status: 400 })
    t.match(await end('?user=ann&code=1'), { status: 400, body: { code: 'INVALID_CLOSE' } })
    t.match(await end(`?user=ann&reason=${'a'.repeat(200)}`), { status: 400, body: { code: 'INVALID_CLOSE' } })
    t.equal((await end('?user=ann', 'bob')).status, 403)
    t.match(await end('?user=ann&user=root&reason=enough'), { status: 200, body: { count: 1, missing: [] } })
    t.strictSame(await ann.closed, { code: 4401, reason: 'enough' })
    t.match(await end('?tag=tag:bob&code=4000'), { status: 200, body: { count: 1 } })
    t.match(await bob.closed, { code: 4000 })
    await until(() => ds.transport.getConnectionCount() === 1)
  })
}
