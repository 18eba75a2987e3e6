import { setTimeout } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { storeNode } from '../helpers/nodes.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { redisServer } from '../helpers/redis-server.js'

const HOUR = 3600
const ann = { userId: 'ann' }

const stores: Record<string, (t: Test, clock: FakeClock) => Promise<() => StateBackend>> = {
  redis: async (t, { under }) => {
    const { url } = await redisServer(t, { under })
    return () => new RedisBackend({ url })
  },
  postgres: async (t, { under }) => {
    const { url } = await postgresServer(t, { under })
    return () => new PostgresBackend({ connectionString: url })
  }
}

for (const [name, open] of Object.entries(stores)) {
  t.test(`${name}: sessions, where the store's clock jumps by an hour`, async (t) => {
    const clock = new FakeClock(t)
    const backend = await open(t, clock)
    const session = { flushThreshold: 1_000_000, flushIntervalMs: 1_000_000, ttlMs: 600_000 }
    const [a, b] = [await storeNode(t, { stateBackend: backend(), session }), await storeNode(t, { stateBackend: backend(), session })]
    const write = async (ds: typeof a, key: string): Promise<void> => {
      ds.primitives.sessions.set('ann', key, key)
      await ds.primitives.sessions.flush('ann')
    }
    await write(a, 'before')
    clock.runAt(-HOUR)
    await write(b, 'an hour ago')
    t.strictSame(await a.primitives.sessions.restore(ann), { before: 'before', 'an hour ago': 'an hour ago' }, 'back: nothing is lost')
    clock.runAt(-HOUR + 500)
    t.strictSame(await b.primitives.sessions.restore(ann), { before: 'before', 'an hour ago': 'an hour ago' }, 'nor within the term that began then')
    clock.runAt(0)
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; await setTimeout(20)) if (Object.keys(await a.primitives.sessions.restore(ann)).length === 0) break
    t.strictSame(await a.primitives.sessions.restore(ann), {}, 'ahead: its term is over')
    await write(b, 'after')
    await write(a, 'later')
    for (const { primitives: { sessions } } of [a, b]) t.strictSame(await sessions.restore(ann), { after: 'after', later: 'later' }, 'and it begins anew')
  })
}
