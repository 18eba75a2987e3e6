import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { type Fault, networkFaults } from '../helpers/chaos.js'
import { storeNode } from '../helpers/nodes.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { proxy } from '../helpers/proxy.js'
import { randomOf, seed } from '../helpers/random.js'
import { redisServer } from '../helpers/redis-server.js'
import type { ServerProcess } from '../helpers/server-process.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const redis = await redisServer(t, { isDurable: true })
const postgres = await postgresServer(t, { isDurable: true })

interface Kind { port: number, process: ServerProcess, restart (): Promise<unknown>, backend (port: number, name: string, commandTimeoutMs: number): StateBackend }

const kinds: Record<string, Kind> = {
  redis: {
    port: redis.port,
    process: redis.process,
    restart: () => redis.restart({ keepsData: true }),
    backend: (port, name, commandTimeoutMs) => new RedisBackend({ url: `redis://127.0.0.1:${port}`, keyPrefix: `${name}:`, commandTimeoutMs })
  },
  postgres: {
    port: postgres.port,
    process: postgres.process,
    restart: () => postgres.restart(),
    backend: (port, name, commandTimeoutMs) => new PostgresBackend({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`, tableName: name, commandTimeoutMs })
  }
}

const USERS = ['ann', 'bob}{']

for (const [kind, { port, process: store, restart, backend }] of Object.entries(kinds)) {
  const faults: Fault[] = [
    { name: `${kind} is killed and comes back`, strike: () => store.kill(), heal: restart },
    ...networkFaults
  ]
  for (const [i, fault] of faults.entries()) {
    const commandTimeoutMs = (i + seed) % 3 === 0 ? 200 : 10_000
    t.test(`${kind}: two nodes write one session while ${fault.name} (calls wait up to ${commandTimeoutMs} ms)`, { timeout: 120_000 }, async (t) => {
      const random = randomOf(seed + i)
      const name = `sessions${i}`
      const proxies = [await proxy(t, port), await proxy(t, port)]
      const nodes: Array<Awaited<ReturnType<typeof storeNode>>> = []
      for (const { port } of proxies) {
        nodes.push(await storeNode(t, { stateBackend: backend(port, name, commandTimeoutMs), session: { flushThreshold: 1 + random(5), flushIntervalMs: 20 + random(50) } }))
      }
      for (const { primitives: { sessions } } of nodes) for (const userId of USERS) if (random(2) === 0) await sessions.restore({ userId })

      /** What each node wrote last, and those fields that both write. */
      const written = nodes.map(() => new Map(USERS.map((userId) => [userId, new Map<string, unknown>()])))
      let writes = 0
      const ending = new AbortController()
      const write = async (at: number): Promise<void> => {
        const { sessions } = nodes[at]!.primitives
        while (!ending.signal.aborted) {
          const userId = USERS[random(USERS.length)]!
          const key = random(3) === 0 ? `shared ${random(3)}` : `of ${at}: ${random(20)}`
          if (random(8) === 0) {
            sessions.delete(userId, key)
            written[at]!.get(userId)!.set(key, undefined)
          } else {
            sessions.set(userId, key, [at, ++writes])
            written[at]!.get(userId)!.set(key, [at, writes])
          }
          await setTimeout(random(5))
        }
      }
      const writers = nodes.map((_, at) => write(at))
      await setTimeout(300)
      await fault.strike(proxies, random)
      await setTimeout(500 + random(4000))
      await fault.heal?.(proxies)
      await setTimeout(300)
      ending.abort()
      await Promise.all(writers)
      const settle = async (fn: () => Promise<unknown>): Promise<void> => {
        for (const deadline = Date.now() + 20_000; ;) {
          const error = await fn().then(() => undefined, (error: unknown) => error as Error)
          if (error === undefined) return
          if (Date.now() > deadline) throw error
          await setTimeout(50)
        }
      }
      // one closes, the other flushes: both have to bring everything
      for (const userId of USERS) await settle(() => nodes[0]!.primitives.sessions.flush(userId))
      // without it a session that nobody uses goes after two seconds, and is read below as one without fields
      for (const userId of USERS) await settle(() => nodes[0]!.primitives.sessions.restore({ userId }))
      await nodes[1]!.close()

      const fresh = await storeNode(t, { stateBackend: backend(port, name, 10_000) })
      for (const userId of USERS) {
        const truth = await fresh.primitives.sessions.restore({ userId })
        const lost = []
        for (const key of new Set(written.flatMap((maps) => [...maps.get(userId)!.keys()]))) {
          const candidates = written.flatMap((maps) => maps.get(userId)!.has(key) ? [JSON.stringify(maps.get(userId)!.get(key))] : [])
          if (!candidates.includes(JSON.stringify(truth[key]))) lost.push({ key, truth: truth[key], candidates })
        }
        t.strictSame(lost, [], `of ${writes} writes no last one is missing`)
        await settle(async () => {
          const { sessions } = nodes[0]!.primitives
          for (const key of Object.keys(truth)) if (JSON.stringify(sessions.get(userId, key)) !== JSON.stringify(truth[key])) throw new Error(`"${key}" is behind`)
        })
      }
      t.ok(writes > 100, `${writes} writes`)
      for (const { logs } of nodes) {
        const errors = logs.filter((line) => line.includes('"level":50'))
        t.ok(errors.length <= 4 * (fault.times ?? 1), `what happened was said once: ${errors.length} errors`, { errors })
      }
    })
  }
}
