import t from 'tap'
import { Bus } from '../../lib/server/bus/bus.js'
import { Topics } from '../../lib/server/bus/topics.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { capturedLogger } from '../helpers/entrances.js'
import { type Node, cluster, node } from '../helpers/nodes.js'
import { HeldTopics } from '../helpers/topic-backends.js'
import { until } from '../helpers/until.js'
import type { Wire } from '../helpers/wire.js'

const { EVENT_S2C, RPC_RES, WELCOME } = Opcode

/** Joins the tags that it is given. */
const tags = ({ ds }: Node): void => {
  ds.rpc.register('join', (tag, { connection }) => { connection.tags.add(tag as string); return null })
  ds.rpc.register('leave', (tag, { connection }) => { connection.tags.delete(tag as string); return null })
}

const isOf = (opcode: number) => (frame: { opcode: number }): boolean => frame.opcode === opcode

t.test('topics: what a member is told waits for its subscription, and nobody else does', async (t) => {
  const backend = new HeldTopics()
  const [a, b] = await cluster(t, 2, {}, [backend, backend]) as [Node, Node]
  tags(a)
  const wire = await a.connect()
  await wire.nextOf(WELCOME)
  const other = await a.connect()
  await other.nextOf(WELCOME)
  backend.isHolding = true
  const joined = wire.call('join', 'room')
  await until(() => backend.waiting.length === 1)
  await other.ping()
  t.notOk(wire.received.some(isOf(RPC_RES)), 'the answer waits')
  backend.isHolding = false
  backend.waiting[0]!.admit()
  t.match(await joined, { result: null })
  b.ds.primitives.fanout.broadcast('news', 1, { to: { tag: 'room' } })
  t.equal((await wire.nextOf(EVENT_S2C)).payload.data, 1)
})

t.test('topics: messages and commits of the node wait as well, in order', async (t) => {
  const backend = new HeldTopics()
  const [a, b] = await cluster(t, 2, {}, [backend, backend]) as [Node, Node]
  tags(a)
  const heard: unknown[] = []
  b.ds.primitives.events.on('said', ({ data }) => { heard.push(data) })
  const wire = await a.connect()
  await wire.nextOf(WELCOME)
  backend.isHolding = true
  void wire.call('join', 'one')
  await until(() => backend.waiting.length === 1)
  a.ds.primitives.events.emit('said', 1)
  void wire.call('join', 'two')
  await until(() => backend.waiting.length === 2)
  a.ds.primitives.events.emit('said', 2)
  const committed = a.ds.primitives.live.setState('k', 1)
  backend.waiting[0]!.admit()
  await until(() => heard.length === 1)
  t.strictSame(heard, [1], 'it waits for what was joined before it, and for nothing else')
  t.equal(await b.ds.primitives.live.getState('k'), undefined)
  backend.waiting[1]!.admit()
  backend.isHolding = false
  await committed
  a.ds.primitives.events.emit('said', 3)
  await until(() => heard.length === 3)
  t.strictSame(heard, [1, 2, 3])
})

t.test('topics: nobody waits for more than a second, and while the store is away only the first does', async (t) => {
  const backend = new HeldTopics()
  const [a, b] = await cluster(t, 2, {}, [backend, backend]) as [Node, Node]
  tags(a)
  const wire = await a.connect()
  await wire.nextOf(WELCOME)
  backend.isHolding = true
  const began = performance.now()
  await wire.call('join', 'one')
  t.ok(performance.now() - began > 900)
  const waits: number[] = []
  for (const tag of ['two', 'three', 'four']) {
    const since = performance.now()
    await wire.call('join', tag)
    waits.push(performance.now() - since)
  }
  t.ok(waits.filter((ms) => ms > 900).length < 2, `the others are not kept, though the machine may stand still once: ${waits.join(', ')} ms`)
  backend.isHolding = false
  backend.waiting[0]!.refuse(new Error('away'))
  for (const { admit } of backend.waiting.slice(1)) admit()
  for (const tag of ['two', 'three', 'four', 'one']) {
    await until(() => {
      b.ds.primitives.fanout.broadcast('news', tag, { to: { tag } })
      return wire.received.some(({ payload }) => payload.data === tag)
    })
  }
  t.pass('one that was refused is tried again')
})

t.test('topics: a held connection is closed with all that it was sent, and holds no more than it may buffer', async (t) => {
  const backend = new HeldTopics()
  const [a] = await cluster(t, 1, { maxBufferedBytes: 100_000, compression: false, rateLimit: false }, [backend]) as [Node]
  tags(a)
  const [full, closed] = [await a.connect(), await a.connect()]
  const ids = []
  for (const wire of [full, closed]) ids.push((await wire.nextOf(WELCOME)).payload.connectionId as string)
  backend.isHolding = true
  const answers = [full.call('join', 'x'), closed.call('join', 'y')]
  await until(() => backend.waiting.length === 2)
  for (let i = 0; i < 20; i++) a.ds.primitives.fanout.broadcast('big', 'x'.repeat(8000), { to: { connection: ids[0] } })
  await until(() => full.received.filter(isOf(EVENT_S2C)).length >= 10)
  t.strictSame(closed.received, [])
  await a.ds.connections.disconnect({ connection: ids }, { code: 4000 })
  for (const wire of [full, closed]) t.equal((await wire.closed).code, 4000)
  t.match(await Promise.all(answers), [{ result: null }, { result: null }])
  t.equal(full.received.filter(isOf(EVENT_S2C)).length, 20)
  for (const { admit } of backend.waiting) admit()
})

t.test('topics: a member that comes back keeps the subscription; in the end nothing is left', async (t) => {
  const open = new Set<string>()
  let opened = 0
  const topics = new Topics((name) => {
    opened++
    open.add(name)
    return Object.assign(() => { open.delete(name) }, { ready: Promise.resolve() })
  }, 50)
  t.teardown(() => { topics.close() })
  for (let i = 0; i < 100; i++) {
    await topics.join('flaps')
    topics.leave('flaps')
  }
  t.equal(opened, 1)
  await topics.join('stays')
  await topics.join('stays')
  topics.leave('stays')
  topics.leave('never joined')
  await until(() => topics.size === 1)
  t.strictSame([...open], ['stays'])
  await Promise.all(Array.from({ length: 3000 }, (_, i) => topics.join(`n${i}`)))
  for (let i = 0; i < 3000; i++) topics.leave(`n${i}`)
  t.ok(topics.size <= 1001, 'those without members are bounded')
  topics.leave('stays')
  await until(() => topics.size === 0)
  t.strictSame([...open], [])
  await topics.join('again')
  topics.close()
  t.equal(topics.join('late'), undefined)
  topics.leave('late')
  t.strictSame([topics.size, open.size], [0, 0])
})

t.test('topics: beside a node of an older version broadcasts go to all', async (t) => {
  const backend = new HeldTopics()
  const { ds, connect } = await node(t, { stateBackend: backend })
  const older = new Bus(backend, () => undefined, capturedLogger([]) as never)
  const heard: unknown[] = []
  await older.open({ fanout: ({ json }) => { heard.push(JSON.parse(json!)) } })
  const say = (data: unknown): void => { ds.primitives.fanout.broadcast('news', data, { to: { tag: 'of nobody' } }) }
  const all = (data: unknown): void => { ds.primitives.fanout.broadcast('news', data) }
  say(1)
  older.publish('node', { node: older.node, pid: 1, host: 'old', startedAt: 0 })
  await until(() => ds.nodes().length === 2)
  t.strictSame(Object.keys(ds.nodes()[1]!).sort(), Object.keys(ds.nodes()[0]!).sort())
  say(2)
  older.publish('node', { node: older.node, pid: 1, host: 'old', startedAt: 0, isGone: true })
  await until(() => ds.nodes().length === 1)
  say(3)
  all(4)
  await until(() => heard.includes(4))
  t.strictSame(heard, [2, 4])
  const wire: Wire = await connect()
  t.match((await wire.nextOf(WELCOME)).payload.connectionId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/, 'an id is a UUID still')
})

t.test('topics: a message to several topics is heard once, from each of many senders', async (t) => {
  const backend = new HeldTopics()
  const bus = (): Bus => new Bus(backend, () => undefined, capturedLogger([]) as never)
  const receiver = bus()
  const heard: string[] = []
  await receiver.open({ gone: ({ key }) => { heard.push(key) } })
  for (const topic of ['a', 'b', 'c']) await receiver.topics!.join(topic)
  const expected: string[] = []
  for (let i = 0; i < 1200; i++) {
    const sender = bus()
    for (const [n, topics] of [['a', 'b', 'c'], ['b'], ['c', 'x', 'b']].entries()) {
      sender.publish('gone', { key: `${i}:${n}` }, new Set(topics))
      expected.push(`${i}:${n}`)
    }
    sender.publish('gone', { key: 'to nobody' }, new Set())
    sender.publish('gone', { key: 'to others' }, new Set(['x']))
  }
  await until(() => heard.length >= expected.length)
  t.strictSame(heard, expected)
})
