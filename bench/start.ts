import { Redis } from 'ioredis'
import pg from 'pg'
import type { StateBackend } from '../lib/backend/backend.js'
import { PostgresBackend } from '../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../lib/backend/redis/redis.js'
import { DatasoleServer } from '../plugins/server.js'
import { PostgresServer } from '../test/helpers/postgres-server.js'
import { RedisServer } from '../test/helpers/redis-server.js'
import { quantile } from './compare.js'

const COUNTS = [10, 100_000, 1_000_000]
const STARTS = 15

/** How long a node takes to start beside a number of live keys (ms): the median, and the longest. */
export interface StartTime { store: string, keys: number, median: number, longest: number }

/** Seeds each store and starts nodes on it, one after the other. */
export async function start (): Promise<StartTime[]> {
  const redis = await RedisServer.start()
  const postgres = await PostgresServer.start()
  try {
    return [
      ...await times('Redis', () => new RedisBackend({ url: redis.url }), (from, to) => seedRedis(redis.url, from, to)),
      ...await times('Postgres', () => new PostgresBackend({ connectionString: postgres.url }), (from, to) => seedPostgres(postgres.url, from, to))
    ]
  } finally {
    await redis.close()
    await postgres.close()
  }
}

async function times (store: string, open: () => StateBackend, seed: (from: number, to: number) => Promise<void>): Promise<StartTime[]> {
  const results: StartTime[] = []
  // makes the tables, and compiles
  for (let i = 0; i < STARTS; i++) await startOnce(open())
  let made = 0
  for (const keys of COUNTS) {
    await seed(made, keys)
    made = keys
    const took: number[] = []
    for (let i = 0; i < STARTS; i++) took.push(await startOnce(open()))
    results.push({ store, keys, median: quantile(took, 0.5), longest: Math.max(...took) })
  }
  return results
}

async function startOnce (stateBackend: StateBackend): Promise<number> {
  const ds = new DatasoleServer({ stateBackend })
  const began = performance.now()
  await ds.init()
  const took = performance.now() - began
  await ds.close()
  return took
}

/** Live state without its values, as the scripts of the backend leave it. */
async function seedRedis (url: string, from: number, to: number): Promise<void> {
  const admin = new Redis(url)
  const chunk = 10_000
  for (let at = from; at < to; at += chunk) {
    await admin.eval(`
      for i = ARGV[1], ARGV[2] - 1 do
        local key = 'state:k' .. string.format('%d', i)
        redis.call('HSET', 'ds:head:{' .. key .. '}', 'e', 'seeded', 'v', 1, 'live', 1, 'sv', 1, 's', '1', 'size', 0, 'since', 0)
        redis.call('RPUSH', 'ds:ids:{' .. key .. '}', 'seeded')
        redis.call('SADD', 'ds:live', key)
        redis.call('ZADD', 'ds:names:{ds:live}', 0, key)
      end`, 0, at, Math.min(at + chunk, to))
  }
  admin.disconnect()
}

async function seedPostgres (connectionString: string, from: number, to: number): Promise<void> {
  const admin = new pg.Client({ connectionString })
  await admin.connect()
  await admin.query(`
    INSERT INTO datasole (hash, key, epoch, version, id, live, snapshot_version, log_start, start_id, log_bytes)
    SELECT sha256(convert_to(key, 'UTF8')), key, 'seeded', 1, 'seeded', true, 1, 1, 'seeded', 0
    FROM (SELECT '"state:k' || i || '"' AS key FROM generate_series(${from}, ${to - 1}) AS i) AS keys`)
  await admin.query('ANALYZE datasole')
  await admin.end()
}
