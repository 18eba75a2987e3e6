import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { Cluster } from 'ioredis'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { randomOf, seed } from '../helpers/random.js'
import { redisCluster } from '../helpers/redis-cluster.js'

/** How often a replica takes over; by hand, more. */
const ROUNDS = Number(process.env.ROUNDS ?? 5)

/** ms after a failover until everyone hears again. */
const HEARING = 10_000

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

t.test('redis cluster: after each planned failover every node hears every channel again', { timeout: 60_000 + ROUNDS * 30_000 }, async (t) => {
  const random = randomOf(seed)
  const cluster = await redisCluster(t)
  const redis = new Cluster(cluster.startupNodes, { lazyConnect: true, slotsRefreshTimeout: 10_000 })
  const keyPrefix = `${randomUUID()}:`
  const backends = Array.from({ length: 8 }, () => new RedisBackend({ redis, keyPrefix }))
  for (const backend of backends) await backend.connect()
  t.teardown(() => Promise.all(backends.map((backend) => backend.close())))
  // one key that all hear, and one of each node's own, wherever its slot is
  const keys = ['shared', ...backends.map((_, i) => `own ${i}`)]
  const heard = backends.map(() => new Map<string, number>())
  for (const [i, backend] of backends.entries()) {
    for (const key of ['shared', `own ${i}`]) await backend.subscribe(key, (_, n) => { heard[i]!.set(key, n as number) }).ready
  }
  let n = 0
  const ending = new AbortController()
  const publishing = (async () => {
    while (!ending.signal.aborted) {
      n++
      await Promise.allSettled(keys.map((key) => backends[random(backends.length)]!.publish(key, n)))
      await setTimeout(10)
    }
  })()
  t.teardown(() => { ending.abort() })
  for (let round = 0; round < ROUNDS; round++) {
    await cluster.settled()
    const replicas = await cluster.replicas()
    await cluster.failover(replicas[random(replicas.length)]!)
    await setTimeout(random(300))
    const since = n
    const deaf = (): string[] => heard.flatMap((own, i) => ['shared', `own ${i}`].filter((key) => (own.get(key) ?? 0) <= since).map((key) => `${key} of node ${i}`))
    const started = performance.now()
    while (deaf().length > 0 && performance.now() - started < HEARING) await setTimeout(20)
    t.strictSame(deaf(), [], `round ${round}: after ${Math.round(performance.now() - started)} ms`)
    if (deaf().length > 0) break
  }
  ending.abort()
  await publishing
})
