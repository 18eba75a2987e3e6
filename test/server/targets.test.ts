import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import t from 'tap'
import type { RedisBackendOptions, Target } from '../../plugins/server.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { type Node, cluster } from '../helpers/nodes.js'
import { randomOf, seed } from '../helpers/random.js'
import { redisCluster } from '../helpers/redis-cluster.js'
import { redisServer } from '../helpers/redis-server.js'
import { stores } from '../helpers/stores.js'
import { CountingRedis } from '../helpers/topic-backends.js'
import { until } from '../helpers/until.js'
import type { Wire } from '../helpers/wire.js'

const { EVENT_S2C, WELCOME } = Opcode

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

type Tap = Pick<typeof t, 'strictSame'>

interface Test { teardown (fn: () => unknown): void }

interface Member { wire: Wire, id: string, events: unknown[] }

const settings = {
  rateLimit: false as const,
  authHandler: (req: { headers: { authorization?: string } }) => ({ authenticated: true, userId: req.headers.authorization?.slice('Bearer '.length) }),
  prepare: ({ rpc, primitives: { fanout, live } }: Node['ds']) => {
    rpc.register('join', (params, { connection }) => {
      const { tags, say, state } = params as { tags: string[], say?: Target, state?: string }
      for (const tag of tags) connection.tags.add(tag)
      if (say !== undefined) fanout.broadcast('joined', tags, say)
      if (state !== undefined) void live.setState(state, tags)
      return null
    })
    rpc.register('leave', (tags, { connection }) => { for (const tag of tags as string[]) connection.tags.delete(tag); return null })
  }
}

async function member (node: Node, user?: string): Promise<Member> {
  const wire = await node.connect(user === undefined ? {} : { headers: { authorization: `Bearer ${user}` } })
  const { payload: { connectionId: id } } = await wire.nextOf(WELCOME)
  const events: unknown[] = []
  wire.socket.on('message', () => {
    for (let at; (at = wire.received.findIndex(({ opcode }) => opcode === EVENT_S2C)) >= 0;) events.push(wire.received.splice(at, 1)[0]!.payload.data)
  })
  return { wire, id, events }
}

/** Nodes that know each other; `heard` has what each heard of the others by broadcasts. */
async function redisNodes (t: Test, count: number, options: RedisBackendOptions, delay?: () => number): Promise<{ nodes: Node[], backends: CountingRedis[] }> {
  const keyPrefix = `${randomUUID()}:`
  const backends = Array.from({ length: count }, () => new CountingRedis({ ...options, keyPrefix }, delay))
  const nodes = await cluster(t, count, settings, backends)
  await until(() => nodes.every(({ ds }) => ds.nodes().length === count))
  return { nodes, backends }
}

t.test('targets: over Redis only nodes with a member hear a broadcast', async (t) => {
  const { nodes: [a, b, c], backends } = await redisNodes(t, 3, { url: process.env.REDIS_URL }) as { nodes: [Node, Node, Node], backends: CountingRedis[] }
  const { fanout } = a.ds.primitives
  const ann = await member(b, 'ann')
  const bob = await member(b, 'bob')
  const also = await member(c, 'ann')
  await ann.wire.call('join', { tags: ['red', 'blue'] })
  await also.wire.call('join', { tags: ['green'] })
  const members = { ann, bob, also }
  const before = (): number[] => backends.map(({ heard }) => heard.fanout ?? 0)
  let n = 0
  const check = async (target: Target | undefined, expected: Array<keyof typeof members>, messages: [number, number]): Promise<void> => {
    const [, inB, inC] = before() as [number, number, number]
    fanout.broadcast('news', ++n, target)
    fanout.broadcast('end', 'end')
    await until(() => Object.values(members).every(({ events }) => events.includes('end')))
    for (const [name, { events }] of Object.entries(members)) {
      t.strictSame(events.splice(0).filter((data) => data !== 'end'), expected.includes(name as 'ann') ? [n] : [], `${name}, ${JSON.stringify(target)}`)
    }
    const [, afterB, afterC] = before() as [number, number, number]
    t.strictSame([afterB - inB - 1, afterC - inC - 1], messages, `messages at both nodes, ${JSON.stringify(target)}`)
  }
  await check(undefined, ['ann', 'bob', 'also'], [1, 1])
  await check({ to: { tag: 'red' } }, ['ann'], [1, 0])
  await check({ to: { tag: 'of nobody' } }, [], [0, 0])
  await check({ to: {} }, [], [0, 0])
  await check({ to: { tag: ['red', 'blue'] } }, ['ann'], [2, 0])
  await check({ to: { tag: ['red', 'green'] } }, ['ann', 'also'], [1, 1])
  await check({ to: { user: 'ann' } }, ['ann', 'also'], [1, 1])
  await check({ to: { user: 'ann', tag: ['red', 'blue'] } }, ['ann', 'also'], [3, 1])
  await check({ to: { user: 'ann' }, except: { connection: also.id } }, ['ann'], [1, 1])
  await check({ to: { user: ['ann', 'bob'] }, except: { user: 'ann' } }, ['bob'], [2, 1])
  await check({ to: { connection: bob.id } }, ['bob'], [1, 0])
  await check({ to: { connection: [bob.id, ann.id, also.id] } }, ['ann', 'bob', 'also'], [1, 1])
  await check({ to: { connection: 'nobody', user: 'bob' } }, ['bob'], [1, 0])
  await check({ except: { tag: 'red' } }, ['bob', 'also'], [1, 1])
  await check({ to: { tag: Array.from({ length: 16 }, (_, i) => i === 7 ? 'green' : `t${i}`) } }, ['also'], [0, 1])
  await check({ to: { tag: Array.from({ length: 17 }, (_, i) => i === 7 ? 'green' : `t${i}`) } }, ['also'], [1, 1])
  const odd = ['', '{x}', 'a:b', 'ü\0', '\ud800', '%', 'x'.repeat(1024)]
  await bob.wire.call('join', { tags: odd })
  for (const tag of odd) await check({ to: { tag } }, ['bob'], [1, 0])

  t.test('and answers to a question only the asker', async (t) => {
    const asked = (): Array<number | undefined> => backends.map(({ heard }) => heard.answer)
    t.strictSame(asked(), [undefined, undefined, undefined])
    t.strictSame(await c.ds.connections.count(undefined, { timeoutMs: 10_000 }), { count: 3, missing: [] })
    t.strictSame(asked(), [undefined, undefined, 2])
  })

  t.test('and what is subscribed ends some seconds after the last member has left', async (t) => {
    const own = (backend: CountingRedis): string[] => [...backend.open.keys()].filter((topic) => !topic.startsWith('node:'))
    t.strictSame(own(backends[2]!).sort(), ['tag:green', 'user:ann'])
    for (const { wire } of Object.values(members)) wire.socket.terminate()
    await until(() => backends.every((backend) => own(backend).length === 0))
    await b.ds.close()
    t.equal(backends[1]!.open.size, 0)
  })
})

for (const [name, open] of Object.entries(stores)) {
  t.test(`targets: over ${name} each member of a union gets a broadcast once, in order`, async (t) => {
    const backends = open()
    const nodes = await cluster(t, 3, settings, [backends(), backends(), backends()])
    await until(() => nodes.every(({ ds }) => ds.nodes().length === 3))
    const members: Member[] = []
    for (let i = 0; i < 6; i++) {
      const one = await member(nodes[i % 3]!, `user ${i % 2}`)
      await one.wire.call('join', { tags: ['all', `third ${i % 3}`, `half ${i < 3}`] })
      members.push(one)
    }
    const random = randomOf(seed)
    const expected = members.map((): number[] => [])
    for (let n = 0; n < 300; n++) {
      const some = (values: string[]): string[] => values.filter(() => random(2) === 0)
      const to = { tag: some(['third 0', 'third 1', 'half true', 'nobody']), user: some(['user 0', 'user 2']), connection: some([members[0]!.id, members[5]!.id]) }
      const except = random(3) === 0 ? { tag: some(['third 2']), connection: some([members[4]!.id]) } : undefined
      const target: Target = random(5) === 0 ? { except } : { to, except }
      // of every fifth a text that no notification of Postgres holds
      nodes[0]!.ds.primitives.fanout.broadcast('news', n % 5 === 0 ? { n, more: 'x'.repeat(9000) } : { n }, target)
      for (const [i, { id }] of members.entries()) {
        const has = ({ tag = [], user = [], connection = [] }: { tag?: string | string[], user?: string | string[], connection?: string | string[] }): boolean =>
          [`third ${i % 3}`, `half ${i < 3}`].some((own) => tag.includes(own)) || user.includes(`user ${i % 2}`) || connection.includes(id)
        if ((target.to === undefined || has(target.to)) && !(except !== undefined && has(except))) expected[i]!.push(n)
      }
    }
    nodes[0]!.ds.primitives.fanout.broadcast('end', { n: -1 }, { to: { tag: 'all' } })
    await until(() => members.every(({ events }) => (events.at(-1) as { n: number } | undefined)?.n === -1))
    for (const [i, { events }] of members.entries()) t.strictSame(events.map((data) => (data as { n: number }).n), [...expected[i]!, -1])
  })
}

/** Clients that join, are answered, and hear what other nodes send then: each has its own tags, all at once. */
async function joinAndHear (t: Tap, nodes: Node[], rounds: number): Promise<void> {
  const random = randomOf(seed)
  await Promise.all(Array.from({ length: 12 }, async (_, i) => {
    let me = await member(nodes[i % nodes.length]!, `user ${i}`)
    let mine = new Set<string>()
    for (let round = 0; round < rounds; round++) {
      const tag = `${i}:${random(4)}`
      if (mine.delete(tag)) await me.wire.call('leave', [tag])
      else {
        mine.add(tag)
        await me.wire.call('join', { tags: [tag] })
      }
      const { fanout } = nodes[random(nodes.length)]!.ds.primitives
      const expected: string[] = []
      for (let n = 0; n < 6; n++) {
        const tags = Array.from({ length: 1 + random(3) }, () => `${i}:${random(5)}`)
        const [target, isForMe]: [Target, boolean] = n === 5
          ? [{ to: { connection: me.id } }, true]
          : random(4) === 0
            ? [{}, true]
            : random(3) === 0
              ? [{ to: { user: `user ${i}`, tag: tags } }, true]
              : [{ to: { tag: tags, connection: 'nobody' }, except: { user: 'nobody' } }, tags.some((each) => mine.has(each))]
        fanout.broadcast('news', `${i}.${round}.${n}`, target)
        if (isForMe) expected.push(`${i}.${round}.${n}`)
      }
      // a connection that has just come may hear what was sent to its user before
      const heard = (): unknown[] => me.events.filter((data) => (data as string).startsWith(`${i}.${round}.`))
      await until(() => heard().includes(expected.at(-1)))
      t.strictSame(heard(), expected, `client ${i}, round ${round}`)
      me.events.length = 0
      if (random(6) > 0) continue
      me.wire.socket.terminate()
      me = await member(nodes[random(nodes.length)]!, `user ${i}`)
      mine = new Set()
    }
  }))
}

t.test('targets: who has been told that it has joined hears all that is sent then, however late Redis hears of it', async (t) => {
  const random = randomOf(seed + 1)
  const { nodes, backends } = await redisNodes(t, 3, { url: process.env.REDIS_URL }, () => random(3) * 15)
  await joinAndHear(t, nodes, 25)
  const [a, b] = nodes as [Node, Node]
  b.ds.rpc.register('welcome', (tag) => { b.ds.primitives.fanout.broadcast('welcome', tag, { to: { tag: tag as string } }); return null })
  const greeter = await member(b, 'greeter')
  for (let i = 0; i < 20; i++) {
    const newcomer = await member(a)
    const tag = `room ${i}`
    // the newcomer's own answer is not what the other waits for
    void newcomer.wire.call('join', { tags: [tag], say: i % 2 === 0 ? { to: { user: 'greeter' } } : {}, ...i % 3 === 0 && { state: tag } })
    await until(() => greeter.events.length > 0)
    greeter.events.length = 0
    await greeter.wire.call('welcome', tag)
    await until(() => newcomer.events.at(-1) === tag)
    newcomer.wire.socket.terminate()
  }
  const newcomer = await member(a)
  void newcomer.wire.call('join', { tags: ['told by state'], say: { to: { tag: 'nobody' } }, state: 'told' })
  await until(async () => await b.ds.primitives.live.getState('told') !== undefined)
  await greeter.wire.call('welcome', 'told by state')
  await until(() => newcomer.events.at(-1) === 'told by state')
  t.ok(Math.max(...backends.flatMap(({ opened }) => [...opened.values()])) < 100)
})

t.test('targets: in a Redis Cluster too', async (t) => {
  const redis = new Cluster((await redisCluster(t)).startupNodes, { lazyConnect: true, slotsRefreshTimeout: 10_000 })
  const random = randomOf(seed + 2)
  const { nodes } = await redisNodes(t, 3, { redis }, () => random(3) * 15)
  await joinAndHear(t, nodes, 15)
})

t.test('targets: after an outage of Redis all is as before, for those that joined during it too', async (t) => {
  const server = await redisServer(t)
  const { nodes: [a, b] } = await redisNodes(t, 2, { url: server.url, commandTimeoutMs: 1000 }) as { nodes: [Node, Node], backends: CountingRedis[] }
  const before = await member(b, 'before')
  await before.wire.call('join', { tags: ['room'] })
  await server.process.kill()
  const during = await member(b, 'during')
  await during.wire.call('join', { tags: ['other'] })
  t.pass('who joins is answered')
  // beyond the time for commands, so that subscriptions have failed
  await setTimeout(2000)
  await server.restart({ keepsData: false })
  let n = 0
  for (const [{ events }, target] of [[before, { user: 'before' }], [before, { tag: 'room' }], [before, { connection: before.id }], [during, { user: 'during' }], [during, { tag: 'other' }]] as const) {
    await until(() => {
      a.ds.primitives.fanout.broadcast('news', ++n, { to: target })
      return events.length > 0
    })
    await until(() => events.includes(n))
    t.equal(new Set(events).size, events.length)
    events.length = 0
  }
  for (const { wire } of [before, during]) await wire.call('leave', ['room', 'other'])
  a.ds.primitives.fanout.broadcast('news', 'to nobody', { to: { tag: ['room', 'other'] } })
  a.ds.primitives.fanout.broadcast('news', 'to all')
  await until(() => [before, during].every(({ events }) => events.includes('to all')))
  t.notOk([before, during].some(({ events }) => events.includes('to nobody')))
})
