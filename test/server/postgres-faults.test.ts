import { setTimeout } from 'node:timers/promises'
import pg from 'pg'
import t from 'tap'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { type Fault, networkFaults, survive } from '../helpers/chaos.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { seed } from '../helpers/random.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const server = await postgresServer(t, { isDurable: true })
const { port, process: postgres } = server

async function terminateAll (): Promise<void> {
  const client = new pg.Client(server.url)
  await client.connect()
  await client.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = $1', ['client backend'])
  await client.end()
}

const faults: Array<Fault & { unlogged?: boolean }> = [
  {
    name: 'Postgres is killed and comes back',
    strike: () => postgres.kill(),
    heal: () => server.restart()
  },
  {
    name: 'Postgres is killed and comes back without what was not logged',
    losesData: true,
    unlogged: true,
    strike: () => postgres.kill(),
    heal: () => server.restart()
  },
  {
    name: 'Postgres is restarted',
    strike: () => postgres.stop('SIGINT'),
    heal: () => server.restart()
  },
  {
    name: 'Postgres stands still',
    strike: () => postgres.pause(),
    heal: () => postgres.resume()
  },
  {
    name: 'every connection is terminated, again and again',
    times: 5,
    strike: async () => {
      for (let i = 0; i < 5; i++) {
        await terminateAll()
        await setTimeout(100)
      }
    }
  },
  ...networkFaults
]

for (const [i, { unlogged, ...fault }] of faults.entries()) {
  const nodes = 2 + (i + seed) % 2
  // calls that wait for the store, and calls that are given up
  const commandTimeoutMs = (i + seed) % 3 === 0 ? 200 : 10_000
  t.test(`${fault.name} (${nodes} nodes, calls wait up to ${commandTimeoutMs} ms)`, { timeout: 120_000 }, async (t) => {
    const backend = (port: number, commandTimeoutMs: number): PostgresBackend =>
      new PostgresBackend({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`, tableName: `faults${i}`, unlogged, commandTimeoutMs })
    await survive(t, { seed: seed + i, port, nodes, fault, commandTimeoutMs, backend })
  })
}
