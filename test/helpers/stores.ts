import { randomUUID } from 'node:crypto'
import type { StateBackend } from '../../lib/backend/backend.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'

/** For each kind a way to open a store that is empty, and from it a way to get there for each node. */
export const stores: Record<string, () => () => StateBackend> = {
  memory: () => {
    const backend = new MemoryBackend()
    return () => backend
  },
  redis: () => {
    const keyPrefix = `${randomUUID()}:`
    return () => new RedisBackend({ url: process.env.REDIS_URL, keyPrefix })
  },
  postgres: () => {
    const tableName = `t${randomUUID().replaceAll('-', '')}`
    return () => new PostgresBackend({ connectionString: process.env.POSTGRES_URL, tableName })
  }
}
