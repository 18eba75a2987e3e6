import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import datasole from '../../../index.js'
import type { StateBackend } from '../../../lib/backend/backend.js'
import { MemoryBackend } from '../../../lib/backend/memory/memory.js'
import { viewOf } from '../../../lib/inspector/live-views.js'
import { mergeConnections, mergeKeys } from '../../../lib/inspector/merge.js'
import { type ConnectionsView, type KeysView, MAX_ROWS, type MethodsView, type Overview, type NodeAnswer } from '../../../lib/inspector/views.js'
import { Datasole } from '../../../lib/server/datasole.js'
import inspector from '../../../plugins/inspector.js'
import { stores } from '../../helpers/stores.js'
import { inTime, until } from '../../helpers/until.js'
import { connect } from '../../helpers/wire.js'
import { viewer } from './viewer.js'

interface Inspected { app: FastifyInstance, url: string }

async function node (t: Test, stateBackend: StateBackend, hasInspector = true): Promise<Inspected> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { stateBackend, authHandler: () => ({ authenticated: true, userId: 'ann' }) })
  if (hasInspector) await app.register(inspector, { allowActions: true })
  app.ds.rpc.register('echo', (params) => params)
  app.ds.rpc.register('whoami', (_params, { connectionId }) => connectionId)
  app.ds.primitives.live.register('board')
  return { app, url: await app.listen({ port: 0, host: '127.0.0.1' }) }
}

for (const [name, open] of Object.entries(stores)) {
  t.test(`nodes: over ${name} a viewer of one node sees and acts on all`, async (t) => {
    const backends = open()
    const [a, b] = [await node(t, backends()), await node(t, backends())]
    await until(() => [a, b].every(({ app }) => app.ds.nodes().length === 2))
    const look = await viewer(t, `${a.url}/inspector`)
    const wire = await connect(`${b.url.replace('http', 'ws')}/__ds`)
    const id = (await wire.call('whoami')).result as string
    const [self, other] = a.app.ds.nodes().map(({ node }) => node) as [string, string]
    await a.app.ds.primitives.live.setState('board', { n: 1 })
    await b.app.ds.primitives.live.getState('board')

    const { nodes } = await look.see<Overview>('overview', ({ nodes }) => Object.values(nodes).filter(({ state }) => state === 'here').length === 2)
    t.match(nodes, { [self]: { isSelf: true, connections: 0 }, [other]: { isSelf: false, connections: 1 } })
    const { rows } = await look.see<ConnectionsView>('connections:', ({ count }) => count === 1)
    t.match(rows, { [id]: { node: other, user: 'ann' } })
    const keys = await look.see<KeysView>('keys:board', ({ rows }) => rows['root|state|board']?.nodes.length === 2)
    t.match([keys.count, keys.rows['root|state|board']], [1, { version: 1 }], 'it is one key')

    const methods = look.see<MethodsView>('methods', ({ rows }) => rows['method echo']!.calls === 2)
    await until(() => Datasole.insideOf(b.app).core.metrics.begin() > 0)
    await wire.call('echo')
    const own = await connect(`${a.url.replace('http', 'ws')}/__ds`)
    await own.call('echo')
    await methods
    own.socket.terminate()

    await look.call('frames', { target: { connection: id }, cursors: {} })
    await wire.call('echo', 'tailed')
    let frames
    let cursors = {}
    await until(async () => {
      const answer = await look.call('frames', { target: { connection: id }, cursors })
      cursors = answer.cursors
      frames = answer.frames
      return frames.length > 0
    })
    t.match(frames, [{ node: other, opcode: 'RPC_REQ', text: /tailed/ }, { opcode: 'RPC_RES' }])
    t.match(await look.call('connection', { node: '', id }), { row: { node: other } })
    t.match(await look.call('disconnect', { id, code: 4000, reason: 'bye' }), { count: 1, missing: [] })
    t.match(await wire.closed, { code: 4000 })

    await b.app.close()
    await look.see<Overview>('overview', ({ nodes }) => Object.keys(nodes).length === 1)
  })
}

t.test('nodes: one that does not answer, or has no inspector, is shown as that', async (t) => {
  const backend = new MemoryBackend()
  const [a, b, plain] = [await node(t, backend), await node(t, backend), await node(t, backend, false)]
  await until(() => [a, b, plain].every(({ app }) => app.ds.nodes().length === 3))
  const [self, mute, other] = [a, b, plain].map(({ app }) => app.ds.nodes()[0]!.node) as [string, string, string]
  // it hears no question, and its signs of life have not ended yet
  Datasole.insideOf(b.app).core.keyspace.storages.root.bus.close()
  const look = await viewer(t, `${a.url}/inspector`)
  const { nodes } = await look.see<Overview>('overview', () => true)
  t.strictSame([nodes[self]!.state, nodes[mute]!.state, nodes[other]!.state], ['here', 'missing', 'unregistered'])
  t.equal(nodes[mute]!.connections, undefined)
  t.strictSame((await look.call('connection', { node: '', id: 'x' })).missing, [mute])
})

t.test('nodes: what one node answers is measured there for as long as it is asked', async (t) => {
  const backend = new MemoryBackend()
  const [a, b] = [await node(t, backend), await node(t, backend)]
  const { core } = Datasole.insideOf(b.app)
  await until(() => a.app.ds.nodes().length === 2)
  const look = await viewer(t, `${a.url}/inspector`)
  await look.see<Overview>('overview', ({ nodes }) => Object.values(nodes).every(({ state }) => state === 'here'))
  t.ok(core.metrics.begin() > 0)
  await look.client.disconnect()
  await until(() => core.metrics.begin() === 0)
})

t.test('nodes: a viewer comes back to a server that was restarted', async (t) => {
  const backend = new MemoryBackend()
  const a = await node(t, backend)
  const { port } = new URL(a.url)
  const look = await viewer(t, `${a.url}/inspector`)
  await look.see<Overview>('overview', () => true)
  await a.app.close()
  await until(() => look.client.getConnectionState() !== 'connected')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { stateBackend: backend })
  await app.register(inspector)
  await app.listen({ port: Number(port), host: '127.0.0.1' })
  await inTime(look.client.connect(), () => 'the new connection')
  const [now] = app.ds.nodes()
  await look.see<Overview>('overview', ({ nodes }) => Object.keys(nodes)[0] === now!.node)
})

t.test('nodes: tables of all nodes together are bounded', (t) => {
  const rows = (from: number): Record<string, never> => Object.fromEntries(Array.from({ length: MAX_ROWS }, (_, i) => [`c${from + i}`, { bytesIn: from + i, bytesOut: 0, bufferedBytes: 0, version: 1, rate: from + i, subscribers: 1 } as never]))
  const answers = new Map<string, NodeAnswer>(Array.from({ length: 3 }, (_, i) => [`n${i}`, {
    connections: [{ filter: '', count: 500, total: 500, rows: rows(i * 1000) }],
    closed: Array.from({ length: 50 }, (_, j) => ({ id: 'x', user: '', address: '', at: i * 100 + j, code: 1000, reason: 'NORMAL' })),
    keys: [{ filter: '', count: 300, total: 300, rows: rows(i * 1000) }]
  }]))
  const view = mergeConnections('', answers)
  t.strictSame([view.count, Object.keys(view.rows).length, view.closed.length], [1500, MAX_ROWS, 50])
  t.ok(view.rows['c2199'] !== undefined && view.rows['c0'] === undefined, 'the most active stay')
  t.equal(view.closed[0]!.at, 249)
  const keys = mergeKeys('', answers)
  t.strictSame([keys.count, Object.keys(keys.rows).length], [600, MAX_ROWS])
  t.strictSame([viewOf('overview'), viewOf('connections:a:b'), viewOf('connections'), viewOf(`keys:${'x'.repeat(101)}`)], [{ kind: 'overview' }, { kind: 'connections', filter: 'a:b' }, undefined, undefined])
  t.end()
})
