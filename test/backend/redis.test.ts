import { randomUUID } from 'node:crypto'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis.js'
import { contract } from './contract.js'

const url = process.env.REDIS_URL!

contract(t as never, async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const backends = [new RedisBackend({ url, keyPrefix }), new RedisBackend({ url, keyPrefix })] as [RedisBackend, RedisBackend]
  for (const backend of backends) {
    await backend.connect()
    t.teardown(() => backend.close())
  }
  return backends
})
