import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Bus } from '../../lib/server/bus/bus.js'
import { Cluster } from '../../lib/server/cluster/cluster.js'
import { DatasoleServer } from '../../plugins/server.js'
import { capturedLogger } from '../helpers/entrances.js'
import { type Node, node } from '../helpers/nodes.js'
import { stores } from '../helpers/stores.js'
import { until } from '../helpers/until.js'

t.test('cluster: a node alone knows itself, and answers for itself', async (t) => {
  const { ds, connect } = await node(t)
  await connect()
  t.match(ds.nodes(), [{ isSelf: true, pid: process.pid, host: String, startedAt: Number }])
  t.strictSame(await ds.connections.count(), { count: 1, missing: [] })
  t.match(await ds.connections.list(), { count: 1, missing: [], connections: [{ userId: '127.0.0.1', protocol: 3, tags: [], subscriptions: 0, bufferedBytes: 0 }] })
  for (const [call, options] of [['list', { limit: 0 }], ['list', { limit: 10_001 }], ['count', { timeoutMs: -1 }]] as const) {
    await t.rejects((ds.connections[call] as (selector: undefined, options: object) => Promise<unknown>)(undefined, options), { code: 'INVALID_ARGUMENT' })
  }
  await t.rejects(ds.connections.count({ room: 'x' } as never), { code: 'INVALID_ARGUMENT', message: /selector\.room is unknown/ })
  await t.rejects(ds.connections.disconnect(undefined as never), { code: 'INVALID_ARGUMENT' })
  await t.rejects(ds.connections.disconnect({ user: 'x' }, { code: 1005 }), { code: 'INVALID_CLOSE' })
})

/** Those who answer late are not missing; the default is a second. */
const PATIENT = { timeoutMs: 10_000 }

for (const [name, open] of Object.entries(stores)) {
  t.test(`cluster: over ${name} connections are listed, counted and closed on every node`, async (t) => {
    const users = { authHandler: (req: { headers: { authorization?: string } }) => ({ authenticated: true, userId: req.headers.authorization?.slice('Bearer '.length) }) }
    const backends = open()
    const [a, b, c] = await Promise.all([0, 1, 2].map(async () => await node(t, { ...users, stateBackend: backends() }))) as [Node, Node, Node]
    await until(() => [a, b, c].every(({ ds }) => ds.nodes().length === 3))
    const ann = await a.connect({ headers: { authorization: 'Bearer ann' } })
    const also = await b.connect({ headers: { authorization: 'Bearer ann' } })
    const bob = await b.connect({ headers: { authorization: 'Bearer bob' } })
    t.strictSame(await c.ds.connections.count(undefined, PATIENT), { count: 3, missing: [] })
    t.strictSame(await c.ds.connections.count({ user: 'ann' }, PATIENT), { count: 2, missing: [] })
    const { connections, count } = await c.ds.connections.list({ user: 'ann' }, PATIENT)
    t.equal(count, 2)
    t.equal(new Set(connections.map(({ node }) => node)).size, 2)
    t.strictSame((await c.ds.connections.list(undefined, { ...PATIENT, limit: 1 })).connections.length, 1)
    const closed = await c.ds.connections.disconnect({ user: 'ann' }, { ...PATIENT, code: 4000, reason: 'bye' })
    t.match(closed, { count: 2, missing: [] })
    t.equal(Object.keys(closed.nodes).length, 3, 'every node confirms it')
    t.strictSame([await ann.closed, await also.closed].map(({ code }) => code), [4000, 4000])
    t.match((await a.ds.connections.list(undefined, PATIENT)).connections, [{ userId: 'bob' }])
    t.ok(bob.socket.readyState === 1)
    // an answer that is larger than a notification of Postgres
    const crowd = await Promise.all(Array.from({ length: 120 }, async () => await b.connect({ headers: { authorization: `Bearer ${'crowd'.repeat(20)}` } })))
    const listed = await a.ds.connections.list({ user: 'crowd'.repeat(20) }, { ...PATIENT, limit: 1000 })
    t.strictSame([listed.count, listed.connections.length, listed.missing], [120, 120, []])
    for (const { socket } of crowd) socket.terminate()
    await b.ds.close()
    await until(() => a.ds.nodes().length === 2)
    t.strictSame(await a.ds.connections.count(undefined, PATIENT), { count: 0, missing: [] })
  })
}

t.test('cluster: before the start a server knows itself', async (t) => {
  const ds = new DatasoleServer()
  t.teardown(() => ds.close())
  t.match(ds.nodes(), [{ isSelf: true }])
  t.strictSame(await ds.connections.count(), { count: 0, missing: [] })
})

t.test('cluster: tags without end make no answer without end', async (t) => {
  const { ds, connect } = await node(t, {
    prepare (ds) { ds.addHook('onConnect', (connection) => { for (let i = 0; i < 1000; i++) connection.tags.add(`${i}`.padStart(1024, 'x')) }) }
  })
  for (let i = 0; i < 3; i++) await connect()
  const { count, connections } = await ds.connections.list()
  t.equal(count, 3)
  t.ok(connections.length < 2, 'one megabyte at the most')
})

t.test('cluster: a node that has died is missing first, and then left out', async (t) => {
  const backend = new MemoryBackend()
  const join = async (heartbeatMs: number): Promise<{ cluster: Cluster, die: () => void }> => {
    const bus = new Bus(backend, () => undefined, capturedLogger([]) as never)
    const cluster = new Cluster(() => bus, () => ({ count: 1 }), undefined, heartbeatMs)
    await bus.open(cluster.messages)
    cluster.start()
    t.teardown(() => { cluster.stop(); bus.close() })
    return { cluster, die () { cluster.stop(); bus.close() } }
  }
  const { cluster } = await join(30)
  const other = await join(30)
  await until(() => cluster.nodes().length === 2)
  t.equal((await cluster.ask({ kind: 'count' }, 1000)).missing.length, 0)
  other.die()
  const { byNode, missing } = await cluster.ask({ kind: 'count' }, 5)
  t.strictSame([byNode.size, missing.length], [1, 1])
  await until(() => cluster.nodes().length === 1)
  t.strictSame(await cluster.ask({ kind: 'count' }, 60_000).then(({ missing }) => missing), [], 'nobody waits for it any more')
})
