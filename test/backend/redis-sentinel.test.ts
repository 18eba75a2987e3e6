import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import type { RedisBackendOptions } from '../../lib/backend/redis/redis-client.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { MASTER_NAME, redisSentinel } from '../helpers/redis-sentinel.js'
import { until } from '../helpers/until.js'

/** Replicas, and `min-replicas-to-write`. By hand, more: the figures in docs/stores.md are of `SETS=1/0,1/1,2/0,2/1,2/2`. */
const sets = (process.env.SETS ?? '1/0,1/1').split(',').map((set) => set.split('/').map(Number) as [number, number])

/** ms after the Sentinels name another master; it took ten seconds, when the old one is told. */
const FOLLOWS = 8000

for (const [replicas, minReplicas] of sets) {
  t.test(`a planned failover, ${replicas} replicas, min-replicas-to-write ${minReplicas}`, { timeout: 120_000 }, async (t) => {
    const set = await redisSentinel(t, { replicas, minReplicas })
    const options = { sentinels: set.sentinels, name: MASTER_NAME }
    const keyPrefix = `${randomUUID()}:`
    const instance = new Redis({ ...options, lazyConnect: true })
    const open = async (redis: RedisBackendOptions['redis']): Promise<RedisBackend> => {
      const backend = new RedisBackend({ redis, keyPrefix })
      await backend.connect()
      t.teardown(() => backend.close())
      return backend
    }
    // as options and as an instance to make connections like
    const backends = [await open(options), await open(instance)]
    const acknowledged: string[] = []
    const failures: string[] = []
    const ending = new AbortController()
    t.teardown(() => { ending.abort() })
    const write = async (backend: RedisBackend): Promise<void> => {
      for (let i = 0; !ending.signal.aborted; i++) {
        const key = randomUUID()
        try {
          const { epoch } = await backend.read(key)
          await backend.commit(key, { base: { epoch, version: 0, id: '' }, commits: [{ id: key, patches: '[]' }] })
          acknowledged.push(key)
        } catch (error) {
          failures.push((error as { code: string }).code)
        }
        await setTimeout(5)
      }
    }
    const writers = backends.flatMap((backend) => [write(backend), write(backend)])
    await until(() => acknowledged.length >= 100)
    const before = acknowledged.length
    await set.failover()
    const switched = performance.now()
    const master = new Redis(await set.masterPort())
    t.teardown(() => { master.disconnect() })
    const isThere = async (key: string): Promise<boolean> => await master.exists(`${keyPrefix}head:{${key}}`) === 1
    let seen = acknowledged.length
    // those that are acknowledged after the switch, by whomever
    while (!(await Promise.all(acknowledged.slice(seen).map(isThere))).some(Boolean)) {
      seen = Math.max(seen, acknowledged.length - 20)
      await setTimeout(20)
    }
    const took = performance.now() - switched
    await setTimeout(1000)
    ending.abort()
    await Promise.all(writers)
    const during = acknowledged.slice(before)
    const found = await Promise.all(acknowledged.map(isThere))
    const lost = found.filter((is) => !is).length
    t.comment(`${replicas} replicas, min-replicas-to-write ${minReplicas}: lost ${lost} of ${during.length} acknowledged (${failures.length} refused: ${[...new Set(failures)].join()}); the new master has commits ${Math.round(took)} ms after the switch`)
    // a master without enough replicas takes nothing until the old one has become one of them
    if (minReplicas < replicas) t.ok(took < FOLLOWS, `the new master is followed: ${Math.round(took)} ms`)
    // what is on its way to the replica as it takes over may be lost all the same
    if (minReplicas === replicas) t.ok(lost <= 20, `nearly nothing is lost: ${lost}`)
  })
}
