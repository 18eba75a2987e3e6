import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { node } from '../helpers/nodes.js'
import { until } from '../helpers/until.js'

const url = process.env.REDIS_URL!
const { hostname: host, port } = new URL(url)

const { EVENT_S2C, STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE } = Opcode

t.test('redis databases: nodes on different databases do not hear each other', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const options = {
    rateLimit: false as const,
    authHandler: () => ({ authenticated: true, userId: 'ann' })
  }
  const nodes = []
  for (const db of [0, 1, 1]) nodes.push(await node(t, { ...options, stateBackend: new RedisBackend({ url: `${url}/${db}`, keyPrefix }) }))
  const wires = []
  for (const each of nodes) wires.push(await each.connect())
  const heard: string[][] = nodes.map(() => [])
  const last = nodes.map(({ ds }, i) => new Promise<void>((resolve) => {
    ds.primitives.events.on('e', ({ data }) => { heard[i]!.push(String(data)) })
    ds.primitives.events.on('last', () => { resolve() })
  }))
  for (const wire of wires) await wire.ask(SUBSCRIBE, { key: 'k' })
  const [a, b] = nodes.map(({ ds }) => ds)
  a!.primitives.events.emit('e', 'from 0')
  b!.primitives.events.emit('e', 'from 1')
  a!.primitives.fanout.broadcast('news', 'from 0')
  b!.primitives.fanout.broadcast('news', 'from 1')
  for (let n = 0; n < 3; n++) {
    await a!.primitives.live.setState('k', { of: 0, n })
    await b!.primitives.live.setState('k', { of: 1, n })
  }
  for (const ds of [a!, b!]) ds.primitives.events.emit('last', null)
  await Promise.all(last)
  t.strictSame(heard, [['from 0'], ['from 1'], ['from 1']], 'emit')
  for (const [i, wire] of wires.entries()) {
    const of = i === 0 ? 0 : 1
    t.equal((await wire.waitFor(({ opcode }) => opcode === EVENT_S2C)).payload.data, `from ${of}`, 'broadcast')
    const { payload: first } = await wire.nextOf(STATE_SNAPSHOT)
    t.strictSame([first.version, first.data], [1, { of, n: 0 }], 'notifications of state')
    while ((await wire.nextOf(STATE_PATCH)).payload.version < 3);
    t.notOk(wire.received.some(({ opcode }) => opcode === EVENT_S2C || opcode === STATE_SNAPSHOT))
  }
  b!.disconnectUser('ann')
  t.equal((await wires[1]!.closed).code, 4401)
  t.equal((await wires[2]!.closed).code, 4401, 'on the other node of its database')
  await wires[0]!.ping()
  t.equal(wires[0]!.socket.readyState, wires[0]!.socket.OPEN, 'disconnectUser')
})

t.test('redis databases: the number is found in every way that it can be given, and decides who hears whom', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const instance = new Redis(Number(port), host, { lazyConnect: true, db: 2 })
  const same: Array<ConstructorParameters<typeof RedisBackend>[0]> = [{ url: `${url}/2` }, { url: `${url}?db=2` }, { redis: { host, port: Number(port), db: 2 } }, { redis: instance }]
  const others = [{ url }, { url: `${url}/3` }, { redis: { host, port: Number(port) } }]
  const heard: number[] = []
  const backends = [...same, ...others].map((options) => new RedisBackend({ ...options, keyPrefix }))
  for (const [i, backend] of backends.entries()) {
    await backend.connect()
    t.teardown(() => backend.close())
    await backend.subscribe('k', () => { heard.push(i) }).ready
  }
  await backends[0]!.publish('k', 1)
  await until(() => heard.length >= same.length)
  for (const backend of backends) await backend.publish('k', 2)
  await until(() => heard.length >= same.length * (1 + same.length) + 5)
  const counts = backends.map((_, i) => heard.filter((each) => each === i).length)
  t.strictSame(counts, [5, 5, 5, 5, 2, 1, 2])
})

t.test('redis databases: on database 0 the names are those of before, so that nodes can be updated one by one', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const backend = new RedisBackend({ url, keyPrefix })
  await backend.connect()
  t.teardown(() => backend.close())
  await backend.subscribe('k', () => {}).ready
  const admin = new Redis(url)
  t.teardown(() => { admin.disconnect() })
  t.strictSame(await admin.pubsub('CHANNELS', `${keyPrefix}*`), [`${keyPrefix}channel:{k}`])
})
