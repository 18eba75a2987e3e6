import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import type { StateBackend } from '../../lib/backend/backend.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { DatasoleServer } from '../../plugins/server.js'
import { admin, named, ownTables } from '../backend/postgres-tables.js'
import { redisServer } from '../helpers/redis-server.js'
import { until } from '../helpers/until.js'

/** Bytes by which replies may differ: a probe may fall into a start. Names of 20,000 keys have 200,000. */
const NOISE = 1000

async function startOnce (stateBackend: StateBackend): Promise<void> {
  const ds = new DatasoleServer({ stateBackend })
  await ds.init()
  await ds.close()
}

t.test('a node that starts on Redis is sent no names of live state, and as much beside 20,000 keys as beside 10', async (t) => {
  const { url } = await redisServer(t)
  const redis = new Redis(url)
  t.teardown(() => { redis.disconnect() })
  const live = async (from: number, to: number): Promise<void> => {
    const names = Array.from({ length: to - from }, (_, i) => `state:k${from + i}`)
    await redis.sadd('ds:live', names)
    await redis.zadd('ds:names:{ds:live}', ...names.flatMap((name) => ['0', name]))
  }
  const sent = async (): Promise<number> => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))![1])
  const costOf = async (): Promise<[bytes: number, heads: number]> => {
    await redis.config('RESETSTAT')
    await startOnce(new RedisBackend({ url }))
    const bytes = await sent()
    return [bytes, Number(/cmdstat_hget:calls=(\d+)/.exec(await redis.info('commandstats'))?.[1] ?? 0)]
  }
  await live(0, 10)
  await costOf() // loads the scripts
  const [few, headsOfFew] = await costOf()
  await live(10, 20_000)
  const [many, headsOfMany] = await costOf()
  t.ok(Math.abs(many - few) < NOISE, `${few} bytes, and ${many}`)
  t.strictSame([headsOfFew, headsOfMany], [0, 0])
})

t.test('a node that starts on Postgres reads no rows of live state, however many there are', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  const application = randomUUID()
  const start = (): Promise<void> => startOnce(new PostgresBackend({ connectionString: named(application), tableName }))
  const live = async (from: number, to: number): Promise<void> => {
    await sql.query(`
      INSERT INTO ${tableName} (hash, key, epoch, version, id, live, snapshot_version, log_start, start_id, log_bytes)
      SELECT sha256(convert_to(key, 'UTF8')), key, 'e', 1, 'i', true, 1, 1, 'i', 0
      FROM (SELECT '"state:k' || i || '"' AS key FROM generate_series(${from}, ${to - 1}) AS i) AS keys`)
    await sql.query(`ANALYZE ${tableName}`)
  }
  /** Of those that are over: a connection reports when it ends. */
  const rowsRead = async (): Promise<number> => {
    await until(async () => (await sql.query('SELECT FROM pg_stat_activity WHERE application_name = $1', [application])).rows.length === 0)
    const { rows } = await sql.query('SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) AS count FROM pg_stat_user_tables WHERE relname = $1', [tableName])
    return Number(rows[0].count)
  }
  await start()
  await live(0, 20_000)
  const before = await rowsRead()
  await start()
  t.equal(await rowsRead() - before, 0)
})
