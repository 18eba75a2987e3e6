import t from 'tap'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { hidePassword } from '../../lib/backend/backend-options.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'

t.test('options that are none are refused', async (t) => {
  for (const options of [null, 'redis://127.0.0.1', []]) {
    t.throws(() => new RedisBackend(options as never), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /RedisBackend: the options must be an object/ })
    t.throws(() => new PostgresBackend(options as never), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /PostgresBackend: the options must be an object/ })
  }
})

t.test('options: what JSON cannot hold is refused, with a code', async (t) => {
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  for (const backend of [new MemoryBackend(), new RedisBackend(), new PostgresBackend()]) {
    for (const value of [1n, cycle]) await t.rejects(backend.set('x', value), { name: 'TypeError', code: 'INVALID_JSON' })
    await t.rejects(backend.set('x', undefined), { code: 'INVALID_ARGUMENT' })
  }
})

t.test('options: a URL is shown without its password', async (t) => {
  const shown: Array<[url: string, shown: string]> = [
    ['redis://127.0.0.1:6379/1', 'redis://127.0.0.1:6379/1'],
    ['redis://:secret@host', 'redis://:***@host'],
    ['postgres://user:secret@host:5432/db?sslmode=require', 'postgres://user:***@host:5432/db?sslmode=require'],
    ['postgres://user:se:cr@et/@host/db', 'postgres://user:***@host/db'],
    ['postgres://host/db?user=me&password=secret&x=1', 'postgres://host/db?user=me&password=***&x=1'],
    ['postgres://user@host/db', 'postgres://user@host/db']
  ]
  for (const [url, expected] of shown) t.equal(hidePassword(url), expected)
})
