import { randomUUID } from 'node:crypto'
import t from 'tap'
import { PostgresBackend } from '../../lib/backend/postgres.js'
import { contract } from './contract.js'

const connectionString = process.env.POSTGRES_URL!

contract(t as never, async (t) => {
  const tableName = `t${randomUUID().replaceAll('-', '')}`
  const backends = [new PostgresBackend({ connectionString, tableName }), new PostgresBackend({ connectionString, tableName })] as [PostgresBackend, PostgresBackend]
  for (const backend of backends) {
    await backend.connect()
    t.teardown(() => backend.close())
  }
  return backends
})
