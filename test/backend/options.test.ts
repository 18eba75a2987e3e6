import t from 'tap'
import { hidePassword } from '../../lib/backend/options.js'

t.test('a URL is shown without its password', async (t) => {
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
