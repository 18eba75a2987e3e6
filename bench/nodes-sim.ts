import { EventEmitter } from 'node:events'
import { Duplex } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { RedisBackend } from '../lib/backend/redis/redis.js'
import { ConnectionContext } from '../lib/server/context/connection-context.js'
import type { Core } from '../lib/server/core.js'
import { Datasole } from '../lib/server/datasole.js'
import { DatasoleServer, type Target } from '../plugins/server.js'
import { RedisServer } from '../test/helpers/redis-server.js'
import { until } from '../test/helpers/until.js'
import { quantile } from './compare.js'

const COUNTS = [2, 8, 32]
const ROUNDS = 7
/** The lower quartile of the rounds: other work of the machine makes CPU time longer, never shorter. */
const QUIET = 0.25
const NOBODY = 'to a tag of no node'
/** Broadcasts of one measurement, and those between two turns of 1 ms. */
const BROADCASTS = 600
const AT_ONCE = 2
const IDLE_MS = 10_000
const MEMBERS = 5000
/** ms: clients that are only streams never answer. */
const SILENCE = 3_600_000

/** As it was before there were topics: every node hears every broadcast. */
class WithoutTopics extends RedisBackend {
  override readonly hasTopics: boolean = false
}

/**
 * µs of CPU for each broadcast: of all nodes, of each but the sender on average, and of Redis; and the messages that such
 * a node gets.
 */
export interface BroadcastCost { nodes: number, what: string, all: number, other: number, redis: number, messages: number }

/** The cost of an idle node in a second (µs of CPU), and the messages that it gets. */
export interface IdleCost { nodes: number, node: number, redis: number, messages: number }

/** A distinct user connects and leaves: µs of CPU, and bytes of Redis while it is there. */
export interface MemberCost { topics: boolean, node: number, redis: number, bytes: number }

/** A socket that takes everything. */
class Sink extends Duplex {
  override _read (): void {}
  override _write (_chunk: unknown, _encoding: string, done: () => void): void { done() }
}

/** Lets a connection in, as a transport does after its upgrade. @returns what ends it */
function accept (core: Core, userId: string, tags: string[] = []): () => void {
  const context = new ConnectionContext(core.hub.newId(), { authenticated: true, userId }, '', 2)
  for (const tag of tags) context.tags.add(tag)
  const socket = new EventEmitter()
  const end = (): void => { socket.emit('close', 1000) }
  core.accept(Object.assign(socket, { close: end, terminate: end }), new Sink(), context)
  return end
}

/** Nodes of one process, each with its own connections to one Redis: bus, hub and fan-out are those of a server. */
class Nodes {
  readonly cores: Core[] = []
  readonly #servers: DatasoleServer[] = []
  hasTopics = false

  async start (count: number, url: string, hasTopics: boolean): Promise<this> {
    this.hasTopics = hasTopics
    const options = { url, keyPrefix: `${hasTopics}:` }
    for (let i = 0; i < count; i++) {
      const ds = new DatasoleServer({ stateBackend: hasTopics ? new RedisBackend(options) : new WithoutTopics(options), maxConnections: Infinity, heartbeatMs: SILENCE })
      await ds.init()
      this.#servers.push(ds)
      this.cores.push(Datasole.insideOf({ ds }).core)
    }
    await until(() => this.#servers.every((ds) => ds.nodes().length === count))
    return this
  }

  /** Messages of other nodes that arrived so far. */
  get received (): number { return this.cores.reduce((sum, { metrics }) => sum + metrics.snapshot().nodeMessages, 0) }

  broadcast (target: Target | undefined): void {
    const [{ fanout, root }] = this.cores as [Core]
    fanout.broadcast('news', { text: 'x'.repeat(60) }, target, root)
  }

  /** Resolves once every node has all that was sent. */
  async settled (): Promise<void> {
    const before = this.cores.slice(1).map(({ metrics }) => metrics.messagesOut)
    this.broadcast(undefined)
    await until(() => this.cores.slice(1).every(({ metrics }, i) => metrics.messagesOut > before[i]!))
  }

  async stop (): Promise<void> {
    for (const ds of this.#servers) await ds.close()
  }
}

/** CPU of this process and of Redis so far (µs). */
async function used (admin: Redis): Promise<{ own: number, redis: number }> {
  const info = await admin.info('cpu')
  const of = (name: string): number => Number(new RegExp(`^${name}:(.*)`, 'm').exec(info)![1]) * 1e6
  const { user, system } = process.cpuUsage()
  return { own: user + system, redis: of('used_cpu_user') + of('used_cpu_sys') }
}

async function measure (admin: Redis, work: () => Promise<unknown>): Promise<{ own: number, redis: number }> {
  const before = await used(admin)
  await work()
  const after = await used(admin)
  return { own: after.own - before.own, redis: after.redis - before.redis }
}

/** Broadcasts over nodes with topics and without, in turns. */
async function broadcasts (admin: Redis, url: string, count: number): Promise<Array<{ before: BroadcastCost, topics: BroadcastCost }>> {
  const targets: Array<[string, Target | undefined]> = [
    ['to all', undefined],
    ['to a tag of half of the nodes', { to: { tag: 'half' } }],
    ['to a tag of one node', { to: { tag: 'one' } }],
    [NOBODY, { to: { tag: 'none' } }]
  ]
  const both = [await new Nodes().start(count, url, false), await new Nodes().start(count, url, true)] as const
  for (const { cores } of both) {
    // the sender is not one of the half, as it needs no message
    for (const [i, core] of cores.entries()) accept(core, `user ${i}`, [...i > 0 && i <= count / 2 ? ['half'] : [], ...i === 1 ? ['one'] : []])
  }
  const taken = new Map<string, Array<Omit<BroadcastCost, 'other'>>>()
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [what, target] of targets) {
      for (const nodes of both) {
        await nodes.settled()
        const received = nodes.received
        const { own, redis } = await measure(admin, async () => {
          for (let i = 0; i < BROADCASTS; i += AT_ONCE) {
            for (let n = 0; n < AT_ONCE; n++) nodes.broadcast(target)
            await setTimeout(1)
          }
          await nodes.settled()
        })
        if (round === 0) continue // it compiles
        const cost = { nodes: count, what, all: own / BROADCASTS, redis: redis / BROADCASTS, messages: (nodes.received - received) / (count - 1) / BROADCASTS }
        const key = `${what} ${nodes.hasTopics}`
        taken.set(key, [...taken.get(key) ?? [], cost])
      }
    }
  }
  for (const nodes of both) await nodes.stop()
  const sender = quantile(taken.get(`${NOBODY} true`)!.map(({ all }) => all), QUIET)
  const costOf = (key: string): BroadcastCost => {
    const costs = taken.get(key)!
    const of = (name: 'all' | 'redis' | 'messages'): number => quantile(costs.map((cost) => cost[name]), QUIET)
    return { ...costs[0]!, all: of('all'), other: Math.max(0, of('all') - sender) / (count - 1), redis: of('redis'), messages: of('messages') }
  }
  return targets.map(([what]) => ({ before: costOf(`${what} false`), topics: costOf(`${what} true`) }))
}

async function idle (admin: Redis, url: string, count: number): Promise<IdleCost> {
  const nodes = await new Nodes().start(count, url, true)
  const received = nodes.received
  const { own, redis } = await measure(admin, () => setTimeout(IDLE_MS))
  const seconds = IDLE_MS / 1000
  const cost = { nodes: count, node: own / count / seconds, redis: redis / seconds, messages: (nodes.received - received) / count / seconds }
  await nodes.stop()
  return cost
}

/** Users that connect and leave, each its own. */
async function members (admin: Redis, url: string): Promise<MemberCost[]> {
  const costs: MemberCost[] = []
  for (let round = 0; round <= ROUNDS; round++) {
    for (const hasTopics of [false, true]) {
      const nodes = await new Nodes().start(1, url, hasTopics)
      const [core] = nodes.cores as [Core]
      const memory = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await admin.info('memory'))![1])
      const before = await memory()
      let bytes = 0
      const { own, redis } = await measure(admin, async () => {
        const ends: Array<() => void> = []
        for (let i = 0; i < MEMBERS; i++) {
          ends.push(accept(core, `user ${round} ${i}`))
          // 2,500 in a second at the most
          if (i % 5 === 4) await setTimeout(2)
        }
        await until(() => core.hub.joining === undefined)
        bytes = await memory() - before
        for (const end of ends) end()
        if (hasTopics) await until(() => core.metrics.snapshot().topics === 1)
      })
      if (round > 0) costs.push({ topics: hasTopics, node: own / MEMBERS, redis: redis / MEMBERS, bytes: bytes / MEMBERS })
      await nodes.stop()
    }
  }
  return [false, true].map((hasTopics) => {
    const of = (value: (cost: MemberCost) => number): number => quantile(costs.filter(({ topics }) => topics === hasTopics).map(value), QUIET)
    return { topics: hasTopics, node: of(({ node }) => node), redis: of(({ redis }) => redis), bytes: of(({ bytes }) => bytes) }
  })
}

/** The costs of many nodes: broadcasts with topics and without, signs of life, and members. */
export async function simulate (): Promise<{ broadcasts: Awaited<ReturnType<typeof broadcasts>>, idle: IdleCost[], members: MemberCost[] }> {
  const redis = await RedisServer.start()
  const admin = new Redis(redis.url)
  try {
    const result = { broadcasts: [] as Awaited<ReturnType<typeof broadcasts>>, idle: [] as IdleCost[], members: await members(admin, redis.url) }
    for (const count of COUNTS) {
      result.broadcasts.push(...await broadcasts(admin, redis.url, count))
      result.idle.push(await idle(admin, redis.url, count))
    }
    return result
  } finally {
    admin.disconnect()
    await redis.close()
  }
}
