import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { type Node, cluster } from '../helpers/nodes.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { redisServer } from '../helpers/redis-server.js'
import type { ServerProcess } from '../helpers/server-process.js'
import { until } from '../helpers/until.js'

interface Store { process: ServerProcess, restart (): Promise<void>, backend (): StateBackend }

const stores: Record<string, (t: Test) => Promise<Store>> = {
  redis: async (t) => {
    const server = await redisServer(t)
    return { process: server.process, restart: () => server.restart({ keepsData: false }), backend: () => new RedisBackend({ url: server.url }) }
  },
  postgres: async (t) => {
    const server = await postgresServer(t)
    return { process: server.process, restart: () => server.restart(), backend: () => new PostgresBackend({ connectionString: server.url }) }
  }
}

/** What two nodes admit together while the store is away. */
const policies = [['local', 20], ['allow', 50], ['deny', 0]] as const
const WINDOW = 4000

/** ms for a decision: more than 50 at once take where the machine is busy, or stands still for a second. */
const PATIENCE = 3000

// they mostly wait
t.jobs = Object.keys(stores).length

/** How many of 50 calls at once, half of them on each node, are admitted. */
async function admitted (nodes: Node[]): Promise<number> {
  const wires = await Promise.all(nodes.map(({ connect }) => connect()))
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => wires[i % wires.length]!.call('echo')))
  return answers.filter(({ result }) => result === 1).length
}

/** Opens the connections that as many decisions at once use: their time is not that of a decision. */
async function warmUp (nodes: Node[]): Promise<void> {
  await Promise.all(Array.from({ length: 50 }, (_, i) => nodes[i % nodes.length]!.ds.primitives.rateLimiter.consume(`warm up ${i}`, { windowMs: 1, maxRequests: 1 })))
}

const said = (nodes: Node[], words: string): number[] => nodes.map(({ logs }) => logs.filter((line) => line.includes(words)).length)

for (const [name, open] of Object.entries(stores)) {
  t.test(`rate limit outage, ${name}`, { timeout: 180_000, buffered: true }, async (t) => {
    const store = await open(t)
    const faults = [
      { fault: 'is killed', strike: () => store.process.kill(), heal: () => store.restart() },
      { fault: 'stands still', strike: () => store.process.pause(), heal: () => store.process.resume() }
    ]
    for (const [i, [onBackendError, passes]] of policies.entries()) {
      const { fault, strike, heal } = faults[i % 2]!
      for (const each of onBackendError === 'local' ? faults : [{ fault, strike, heal }]) {
        await t.test(`it ${each.fault}: ${onBackendError}`, async (t) => {
          const nodes = await cluster(t, 2, {
            rateLimit: { defaultRule: { windowMs: WINDOW, maxRequests: 10 }, keyExtractor: () => onBackendError + each.fault, onBackendError, timeoutMs: PATIENCE },
            prepare: (ds) => { ds.rpc.register('echo', () => 1) }
          }, [store.backend(), store.backend()])
          await warmUp(nodes)
          t.equal(await admitted(nodes), 10)
          await each.strike()
          t.equal(await admitted(nodes), passes, 'while it is away')
          t.strictSame(said(nodes, 'gives no answer'), [1, 1])
          for (const { ds } of nodes) t.ok(ds.metrics.snapshot().rateLimitFallbacks >= 25)
          await each.heal()
          await until(() => !said(nodes, 'answers again').includes(0))
          await setTimeout(WINDOW)
          t.equal(await admitted(nodes), 10, 'exact again')
          t.strictSame(said(nodes, 'gives no answer'), [1, 1], 'and said once')
        })
      }
    }
  })
}
