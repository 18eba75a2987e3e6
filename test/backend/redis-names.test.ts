import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis/redis.js'

const url = process.env.REDIS_URL!

t.test('redis names: names that nodes of older versions list and remove are found', async (t) => {
  const keyPrefix = `${randomUUID()}:`
  const [set, sorted] = [`${keyPrefix}live`, `${keyPrefix}names:{${keyPrefix}live}`]
  const admin = new Redis(url)
  const backend = new RedisBackend({ url, keyPrefix })
  await backend.connect()
  t.teardown(async () => {
    admin.disconnect()
    await backend.close()
  })
  const make = async (key: string): Promise<void> => {
    const { epoch } = await backend.read(key)
    await backend.commit(key, { base: { epoch, version: 0, id: '' }, commits: [{ id: randomUUID(), patches: '[]' }], live: true, snapshot: { version: 1, value: '1' } })
  }
  const inBoth = async (): Promise<number[]> => [await admin.scard(set), await admin.zcard(sorted)]
  const keys = Array.from({ length: 1200 }, (_, i) => `a:${i}`).sort()
  await Promise.all([...keys, 'b:1', 'b:2'].map(make))
  t.strictSame(await inBoth(), [1202, 1202])

  t.test('all of them, as an upgrade finds them', async (t) => {
    await admin.del(sorted)
    t.strictSame((await backend.liveKeys('a:')).sort(), keys)
    t.strictSame((await backend.liveKeys('b:')).sort(), ['b:1', 'b:2'])
    t.strictSame(await inBoth(), [1202, 1202])
  })

  t.test('one that was listed', async (t) => {
    await admin.zrem(sorted, 'b:1')
    t.strictSame((await backend.liveKeys('b:')).sort(), ['b:1', 'b:2'])
    t.strictSame(await inBoth(), [1202, 1202])
  })

  t.test('one that was removed, and another that is live all the same', async (t) => {
    await admin.srem(set, 'b:1', 'b:2')
    await admin.hset(`${keyPrefix}head:{b:1}`, 'live', 0)
    t.strictSame((await backend.liveKeys('b:')).sort(), ['b:2'])
    t.strictSame(await inBoth(), [1201, 1201])
  })
})
