import Fastify, { type FastifyInstance } from 'fastify'
import datasole from '../../../index.js'
import { MemoryBackend } from '../../../lib/backend/memory/memory.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import inspector, { type InspectorOptions } from '../../../plugins/inspector.js'
import { until } from '../../helpers/until.js'
import { type Wire, connect } from '../../helpers/wire.js'

interface Test { teardown (fn: () => unknown): void }

/** Names that would do something if they were markup. */
export const HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

export interface Shop {
  /** Of the first node. */
  url: string
  nodes: FastifyInstance[]
  wires: Wire[]
}

/** Two nodes of a shop with clients that do something all the time. */
export async function openShop (t: Test, options: InspectorOptions): Promise<Shop> {
  const backend = new MemoryBackend()
  const wires: Wire[] = []
  const nodes = await Promise.all([0, 1].map(async () => await shopNode(t, backend, options)))
  const urls = nodes.map(({ server }) => `http://127.0.0.1:${(server.address() as { port: number }).port}`)
  await until(() => nodes.every(({ ds }) => ds.nodes().length === 2))
  const users = ['ann', 'bob', 'chloe', 'deniz', 'emeka', 'farah', 'goran', 'hana', 'ivo', 'jun', 'kofi', HOSTILE]
  for (const [i, user] of users.entries()) {
    const wire = await connect(`${urls[i % 2]!.replace('http', 'ws')}/__ds`, { headers: { 'x-user': user } })
    wires.push(wire)
    for (const [j, key] of ['prices', 'stock', `cart-${user}`].entries()) wire.send(Opcode.SUBSCRIBE, 100 + j, { key })
  }
  const [first] = nodes as [FastifyInstance]
  await first.ds.primitives.live.setState(HOSTILE, { text: HOSTILE })
  let turn = 0
  const timer = setInterval(() => {
    const wire = wires[turn++ % wires.length]!
    if (wire.socket.readyState !== 1) return
    wire.received.length = 0
    for (let i = 0; i < 3; i++) wire.send(Opcode.RPC_REQ, turn * 10 + i, { method: ['catalog.search', 'cart.add', 'price.of'][i], params: { query: 'lamp', page: turn % 7 }, correlationId: turn * 10 + i })
    wire.send(Opcode.EVENT_C2S, 0, { event: 'seen', data: { item: turn % 40 } })
    if (turn % 9 === 0) wire.send(Opcode.RPC_REQ, turn * 10 + 5, { method: 'order.place', params: {}, correlationId: turn * 10 + 5 })
    if (turn % 2 === 0) void first.ds.primitives.live.update('prices', (draft) => { (draft as Record<string, number>)[`item-${turn % 20}`] = Math.round(Math.random() * 1e4) / 100 })
    if (turn % 5 === 0) nodes[1]!.ds.primitives.fanout.broadcast('offer', { item: turn % 40, off: 0.2 })
  }, 25)
  t.teardown(() => {
    clearInterval(timer)
    for (const { socket } of wires) socket.terminate()
  })
  return { url: urls[0]!, nodes, wires }
}

async function shopNode (t: Test, stateBackend: MemoryBackend, options: InspectorOptions): Promise<FastifyInstance> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { stateBackend, rateLimit: false, authHandler: ({ headers }) => ({ authenticated: true, userId: String(headers['x-user']) }) })
  await app.register(inspector, options)
  const { ds } = app
  ds.addHook('onConnect', (connection) => { connection.tags.add('web') })
  ds.rpc.register('catalog.search', async () => await new Promise((resolve) => { setTimeout(() => { resolve([{ id: 7, name: 'lamp' }]) }, 2 + Math.random() * 9) }))
  ds.rpc.register('cart.add', async () => await ds.primitives.live.setState('stock', { lamp: Math.floor(Math.random() * 90) }))
  ds.rpc.register('price.of', () => 12.5)
  ds.rpc.register('order.place', () => { throw Object.assign(new Error('the cart is empty'), { code: 12 }) })
  ds.rpc.register('profile.get', () => ({}))
  ds.rpc.register(HOSTILE, () => 0)
  ds.primitives.events.on('seen', () => {})
  for (const key of ['prices', 'stock']) ds.primitives.live.register(key)
  await ds.primitives.live.setState('prices', Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`item-${i}`, i])))
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app
}
