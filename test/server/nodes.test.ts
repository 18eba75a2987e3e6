import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DefaultRateLimiter } from '../../lib/server/limits/default-rate-limiter.js'
import { DatasoleServer, type RateLimiter } from '../../plugins/server.js'
import { Gate, ShakyBackend } from '../helpers/backends.js'
import { capturedLogger } from '../helpers/entrances.js'
import { type Node, type NodeOptions, cluster } from '../helpers/nodes.js'
import { stores } from '../helpers/stores.js'
import { SUBPROTOCOL, type Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const { EVENT_C2S, EVENT_S2C, STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE } = Opcode
type Tap = Parameters<typeof cluster>[0]

const PAD = 'x'.repeat(300)

for (const [store, open] of Object.entries(stores)) {
  t.test(store, async (t) => {
    const nodesOf = async (t: Tap, count: number, options: NodeOptions = {}): Promise<Node[]> => {
      const backend = open()
      return await cluster(t, count, options, Array.from({ length: count }, backend))
    }

    t.test('a write on one node reaches the clients of all', async (t) => {
      const [a, b] = await nodesOf(t, 2)
      const wires = [await a!.connect(), await b!.connect()]
      for (const wire of wires) await wire.ask(SUBSCRIBE, { key: 'k' })
      await a!.ds.primitives.live.setState('k', { n: 0, PAD })
      for (const wire of wires) t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { version: 1, data: { n: 0 } } })
      const increment = (draft: unknown): void => { (draft as { n: number }).n++ }
      await Promise.all(Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? a : b)!.ds.primitives.live.update('k', increment)))
      for (const wire of wires) {
        let [version, n] = [1, 0]
        while (n < 100) {
          const { payload } = await wire.nextOf(STATE_PATCH)
          t.equal(payload.from, version)
          version = payload.version
          n = payload.patches.at(-1).value
        }
        t.equal(version, 101)
      }
      await b!.ds.primitives.live.deleteState('k')
      for (const wire of wires) t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { version: 0 } })
      await until(async () => await a!.ds.primitives.live.getState('k') === undefined)
    })

    t.test('a key that becomes live on one node reaches version 1 clients on the other', async (t) => {
      const [a, b] = await nodesOf(t, 2)
      const client = await b!.connectV1()
      await a!.ds.primitives.state.setState('k', 'not yet')
      await a!.ds.primitives.live.setState('k', 1)
      await client.until(({ state }) => state.get('k') === 1)
      await a!.ds.primitives.live.deleteState('k')
      await client.until(({ state }) => state.get('k') === undefined)
      await b!.ds.primitives.live.setState('k', 2)
      await client.until(({ state }) => state.get('k') === 2)
      const late = await a!.connectV1()
      await late.until(({ state }) => state.get('k') === 2)
      t.strictSame([...client.complaints, ...late.complaints], [])
    })

    t.test('a server that joins late finds what is live', async (t) => {
      const backends = open()
      const [a] = await cluster(t, 1, {}, [backends()])
      await a!.ds.primitives.live.setState('k', 1)
      const [b] = await cluster(t, 1, {}, [backends()])
      const client = await b!.connectV1()
      await client.until(({ state }) => state.get('k') === 1)
      const wire = await b!.connect()
      t.match(await wire.ask(SUBSCRIBE, { key: 'k' }), { payload: { version: 1, data: 1 } })
    })

    t.test('events.emit reaches every node, a client\'s event only its own', async (t) => {
      const nodes = await nodesOf(t, 3)
      const seen: unknown[] = []
      for (const [i, { ds }] of nodes.entries()) ds.primitives.events.on('e', ({ data, event, timestamp }, connection) => { seen.push([i, event, data, typeof timestamp, connection?.protocol]) })
      const everyone = nodes.map(({ ds }) => new Promise<void>((resolve) => { ds.primitives.events.on('last', () => { resolve() }) }))
      nodes[1]!.ds.primitives.events.emit('e', { x: 1 })
      const wire = await nodes[2]!.connect()
      wire.send(EVENT_C2S, 0, { event: 'e', data: 2 })
      await wire.ping()
      nodes[1]!.ds.primitives.events.emit('last', null)
      await Promise.all(everyone)
      const emitted = (i: number): unknown[] => [i, 'e', { x: 1 }, 'number', undefined]
      t.strictSame(seen.sort(), [emitted(0), emitted(1), [2, 'e', 2, 'number', Number(SUBPROTOCOL.at(-1))], emitted(2)])
    })

    t.test('broadcasts reach the clients that are meant, on whatever node', async (t) => {
      const nodes = await nodesOf(t, 2, {
        authHandler: (req) => ({ authenticated: true, userId: req.headers.authorization?.slice('Bearer '.length) }),
        prepare: (ds) => { ds.addHook('onConnect', (connection) => { connection.tags.add(`room of ${connection.userId}`) }) }
      })
      const wires: Wire[] = []
      const ids: string[] = []
      for (const [i, name] of ['ann', 'bob', 'ann', 'eve'].entries()) {
        const wire = await nodes[i % 2]!.connect({ headers: { authorization: `Bearer ${name}` } })
        ids.push((await wire.nextOf(Opcode.WELCOME)).payload.connectionId)
        wires.push(wire)
      }
      const reached = async (from: number, target?: object): Promise<number[]> => {
        nodes[from]!.ds.primitives.fanout.broadcast('news', 1, target)
        nodes[from]!.ds.primitives.fanout.broadcast('last', 1)
        const places = []
        for (const [i, wire] of wires.entries()) {
          await wire.waitFor(({ opcode, payload }) => opcode === EVENT_S2C && payload.event === 'last')
          const frames = wire.received.splice(0)
          t.ok(frames.length <= 1 && frames.every(({ payload }) => payload.event === 'news'))
          if (frames.length > 0) places.push(i)
        }
        return places
      }
      for (const from of [0, 1]) {
        t.strictSame(await reached(from), [0, 1, 2, 3])
        t.strictSame(await reached(from, { to: { user: 'ann' } }), [0, 2])
        t.strictSame(await reached(from, { to: { user: ['bob', 'eve'] } }), [1, 3])
        t.strictSame(await reached(from, { to: { connection: ids[1] } }), [1])
        t.strictSame(await reached(from, { to: { tag: 'room of eve', connection: ids[0] } }), [0, 3])
        t.strictSame(await reached(from, { except: { tag: 'room of ann' } }), [1, 3])
        t.strictSame(await reached(from, { to: { user: ['ann', 'bob'] }, except: { connection: [ids[0], ids[1]] } }), [2])
      }
      nodes[0]!.ds.disconnectUser('bob')
      t.equal((await wires[1]!.closed).code, 4401)
      nodes[0]!.ds.disconnectUser('ann', { code: 4001, reason: 'moved' })
      t.match(await Promise.all([wires[0]!.closed, wires[2]!.closed]), [{ code: 4001, reason: 'moved' }, { code: 4001, reason: 'moved' }])
    })

    t.test('disconnectUser on one node reaches those whom another is just authenticating', async (t) => {
      let answer = (): void => {}
      let asked = (): void => {}
      const isAsked = new Promise<void>((resolve) => { asked = resolve })
      const [a, b] = await nodesOf(t, 2, {
        authHandler: async (req) => {
          if (req.headers.authorization === undefined) await new Promise<void>((resolve) => { answer = resolve; asked() })
          return { authenticated: true, userId: 'ann' }
        }
      })
      const there = await b!.connect({ headers: { authorization: 'Bearer x' } })
      const arriving = b!.connect()
      await isAsked
      a!.ds.disconnectUser('ann', { code: 4001, reason: 'moved' })
      t.match(await there.closed, { code: 4001 })
      answer()
      t.match(await (await arriving).closed, { code: 4001, reason: 'moved' })
    })

    t.test('a node that closes leaves the others as they were', async (t) => {
      const [a, b] = await nodesOf(t, 2)
      const wire = await a!.connect()
      await wire.ask(SUBSCRIBE, { key: 'k' })
      const gone = await b!.connect()
      await b!.ds.close()
      t.equal((await gone.closed).code, 1001)
      await a!.ds.primitives.live.setState('k', 1)
      t.match(await wire.nextOf(STATE_SNAPSHOT), { payload: { data: 1 } })
      await b!.ds.close()
    })

    t.test('what clients do does not cross nodes', async (t) => {
      const [a, b] = await nodesOf(t, 2, { rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 1 } } })
      for (const { ds } of [a!, b!]) ds.rpc.register('where', () => ds === a!.ds ? 'a' : 'b')
      t.equal((await (await a!.connect()).call('where')).result, 'a')
      t.equal((await (await b!.connect()).call('where')).result, 'b')
    })
  })
}

t.test('what is broadcast while a node starts stays in order', async (t) => {
  const shared = new MemoryBackend()
  const [a] = await cluster(t, 1, {}, [shared])
  const wire = await a!.connect()
  await wire.nextOf(Opcode.WELCOME)
  const gate = new Gate()
  const none = new DefaultRateLimiter(shared)
  const rateLimiter: RateLimiter = {
    check: (key, rule) => none.check(key, rule),
    consume: (key, rule) => none.consume(key, rule),
    reset: (key) => none.reset(key),
    connect: async () => { await gate.pass() }
  }
  const stateBackend = Object.assign(new ShakyBackend(shared), { connect: async () => {} })
  const ds = new DatasoleServer({ stateBackend, rateLimiter, logger: capturedLogger([]) })
  t.teardown(() => ds.close())
  const { fanout } = ds.primitives
  const starting = ds.init()
  fanout.broadcast('e', 1)
  // the backend is connected, the rest is not
  await gate.arrival()
  fanout.broadcast('e', 2)
  fanout.broadcast('e', 3)
  const going = starting.then(() => { for (const n of [4, 5]) fanout.broadcast('e', n) })
  gate.open()
  await going
  const heard = []
  while (heard.length < 5) heard.push((await wire.nextOf(EVENT_S2C)).payload.data)
  t.strictSame(heard, [1, 2, 3, 4, 5])
})

t.test('nodes: what is live in the store and nobody\'s here is not mirrored', async (t) => {
  const backend = new ShakyBackend()
  const foreign = 'another-state:k'
  const { epoch } = await backend.memory.read(foreign)
  await backend.memory.commit(foreign, { base: { epoch, version: 0, id: '' }, commits: [{ id: 'one', patches: '[]' }], live: true, snapshot: { version: 1, value: '1' } })
  const [a] = await cluster(t, 1, {}, [backend])
  await a!.ds.primitives.live.setState('k', 1)
  const { reads } = backend
  const client = await a!.connectV1()
  await client.until(({ state }) => state.get('k') === 1)
  t.equal(backend.reads, reads)
})

t.test('a key that became live while nobody told the other node', async (t) => {
  const memory = new MemoryBackend()
  const backends = [new ShakyBackend(memory), new ShakyBackend(memory)]
  let failures = 0
  backends[1]!.liveKeys = async () => {
    if (failures-- > 0) throw new Error('not now')
    return await memory.liveKeys()
  }
  const [a, b] = await cluster(t, 2, {}, backends)
  const client = await b!.connectV1()
  backends[1]!.hears = () => false
  await a!.ds.primitives.live.setState('k', 1)
  backends[1]!.hears = () => true
  failures = 2
  backends[1]!.doubt()
  await client.until(({ state }) => state.get('k') === 1)
  t.equal(b!.logs.filter((line) => line.includes('not now')).length, 1, 'it is tried until it works, and said once')
})
