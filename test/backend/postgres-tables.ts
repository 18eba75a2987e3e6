import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import type { PostgresBackendOptions } from '../../lib/backend/postgres/postgres-options.js'

export const connectionString = process.env.POSTGRES_URL!

interface Test { teardown (fn: () => unknown): void }

/** A connection that sees what the backends do. */
export async function admin (t: Test, url = connectionString): Promise<pg.Client> {
  const client = new pg.Client(url)
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** A name that is nobody else's; the tables that are made by it go with the test. */
export function ownTables (t: Test): string {
  const tableName = `t${randomUUID().replaceAll('-', '')}`
  t.teardown(async () => {
    const client = new pg.Client(connectionString)
    await client.connect()
    await client.query(['', '_snapshots', '_log', '_values', '_messages', '_buckets'].map((suffix) => `DROP TABLE IF EXISTS ${tableName}${suffix}`).join('; '))
    await client.end()
  })
  return tableName
}

/** Two nodes' ways to tables of their own. */
export async function two (t: Test, options: PostgresBackendOptions = {}, term?: number): Promise<[PostgresBackend, PostgresBackend]> {
  const all = { tableName: options.tableName ?? ownTables(t), ...options.pool === undefined && { connectionString }, ...options }
  const backends: [PostgresBackend, PostgresBackend] = [new PostgresBackend(all, term), new PostgresBackend(all, term)]
  for (const backend of backends) {
    await backend.connect()
    t.teardown(() => backend.close())
  }
  return backends
}

/** The server's URL by which connections can be told from those of other tests. */
export function named (name: string, url = connectionString): string {
  const named = new URL(url)
  named.searchParams.set('application_name', name)
  return named.href
}
