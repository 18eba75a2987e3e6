import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { Redis } from 'ioredis'
import pg from 'pg'
import t, { type Test } from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { FakeClock } from '../helpers/fake-clock.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { seed } from '../helpers/random.js'
import { redisServer } from '../helpers/redis-server.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

interface Store {
  backend (): StateBackend
  /** ms until the first bucket goes that nobody asks for again. */
  left (): Promise<number>
}

/** A store whose clock is in the test's hand, and a way to it. */
const stores: Record<string, (t: Test, clock: FakeClock) => Promise<Store>> = {
  redis: async (t, { under }) => {
    const { url } = await redisServer(t, { under })
    const client = new Redis(url)
    t.teardown(() => { client.disconnect() })
    return { backend: () => new RedisBackend({ url }), left: () => client.pttl('ds:bucket:{jump}') }
  },
  postgres: async (t, { under }) => {
    const { url } = await postgresServer(t, { under })
    const pool = new pg.Pool({ connectionString: url, max: 1 })
    t.teardown(() => pool.end())
    return {
      backend: () => new PostgresBackend({ connectionString: url }),
      left: async () => Number((await pool.query('SELECT extract(epoch FROM min(expires_at) - now()) * 1000 AS ms FROM datasole_buckets')).rows[0].ms)
    }
  }
}

const rules = fc.record({ windowMs: fc.integer({ min: 1, max: 8 }).map((seconds) => seconds * 1000), maxRequests: fc.integer({ min: 4, max: 12 }) })
const steps = fc.array(fc.record({ wait: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 10 })), cost: fc.integer({ min: 0, max: 4 }) }), { minLength: 10, maxLength: 40 })

for (const [name, open] of Object.entries(stores)) {
  t.test(`consume clock, ${name}`, async (t) => {
    const clock = new FakeClock(t)
    const store = await open(t, clock)
    const backend = store.backend()
    await backend.connect!()
    t.teardown(() => backend.close!())
    const consume = async (...args: Parameters<NonNullable<StateBackend['consume']>>): Promise<Awaited<ReturnType<NonNullable<StateBackend['consume']>>>> => await backend.consume!(...args)

    await t.test('at any time it admits exactly what a list of all that was admitted would', async () => {
      /** Seconds since 2030; it only goes on, whatever fast-check tries again. */
      let now = 0
      await fc.assert(fc.asyncProperty(rules, steps, async (rule, steps) => {
        const bucket = randomUUID()
        const admitted: Array<{ at: number, cost: number }> = []
        /** What the window that ends at a time (ms) holds. */
        const used = (ms: number): number => admitted.reduce((sum, { at, cost }) => at > ms - rule.windowMs && at <= ms ? sum + cost : sum, 0)
        now += 100
        for (const { wait, cost } of steps) {
          clock.standAt(now += wait)
          const ms = now * 1000
          const wanted = Math.max(cost, 1)
          const fits = used(ms) + wanted <= rule.maxRequests
          const { allowed, remaining, retryAfter } = await consume(bucket, rule, cost)
          if (allowed !== fits) throw new Error(`at ${ms}: ${cost} is ${allowed ? '' : 'not '}admitted though ${used(ms)} of ${rule.maxRequests} are used`)
          if (allowed && cost > 0) admitted.push({ at: ms, cost })
          if (remaining !== rule.maxRequests - used(ms)) throw new Error(`at ${ms}: ${remaining} remain though ${used(ms)} of ${rule.maxRequests} are used`)
          if (allowed) continue
          if (used(ms + retryAfter!) + wanted > rule.maxRequests) throw new Error(`after ${retryAfter} ms it would not be admitted`)
          if (used(ms + retryAfter! - 1) + wanted <= rule.maxRequests) throw new Error(`it would be admitted before ${retryAfter} ms`)
        }
        for (const { at } of admitted) if (used(at) > rule.maxRequests) throw new Error(`the interval that ends at ${at} admitted ${used(at)}`)
      }), { seed, numRuns: 60 })
    })

    await t.test('a jump of an hour, there and back', async (t) => {
      const rule = { windowMs: 60_000, maxRequests: 5 }
      const admittedOf = async (tries: number): Promise<number> => {
        let admitted = 0
        for (let i = 0; i < tries; i++) if ((await consume('jump', rule, 1)).allowed) admitted++
        return admitted
      }
      const waitsAtMost = async (ms: number): Promise<void> => {
        const { allowed, retryAfter } = await consume('jump', rule, 0)
        t.notOk(allowed)
        t.ok(retryAfter! > 0 && retryAfter! <= ms, `${retryAfter} ms`)
      }
      clock.runAt(0)
      t.equal(await admittedOf(20), 5)
      await waitsAtMost(60_000)
      clock.runAt(3600)
      t.equal(await admittedOf(20), 5, 'a jump ahead ends the window, once')
      await waitsAtMost(60_000)
      clock.runAt(0)
      t.equal(await admittedOf(20), 0, 'a jump back ends none')
      const left = await store.left()
      t.ok(left > 0 && left < 2 * 3_600_000, `and what nobody asks for again goes, after ${left} ms`)
      await waitsAtMost(60_000)
      clock.runAt(30)
      t.equal(await admittedOf(20), 0)
      await waitsAtMost(30_000)
      clock.runAt(61)
      t.equal(await admittedOf(20), 5, 'and locks nobody out for more than a window')
      await waitsAtMost(60_000)
    })
  })
}
