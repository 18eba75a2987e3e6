import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { CommitRequest } from '../../lib/backend/backend.js'
import { isNotNow, mayHaveRun } from '../../lib/backend/postgres-errors.js'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { admin, connectionString, ownTables } from './postgres-tables.js'
import { until } from '../helpers/until.js'

t.test('postgres errors: each SQLSTATE says whether a commit may have happened, and whether to try again', async (t) => {
  const errors: Array<[code: string, severity: string, mayHappened: boolean, notNow: boolean]> = [
    ['08006', 'ERROR', true, true], ['08007', 'ERROR', true, true], ['40003', 'ERROR', true, false],
    ['57P01', 'FATAL', true, true], ['57P02', 'FATAL', true, true], ['57P03', 'FATAL', true, true], ['57P05', 'FATAL', true, true], ['57P01', 'FATALE', true, true],
    ['53100', 'PANIC', true, false], ['58030', 'ERROR', true, false], ['XX000', 'ERROR', true, false],
    ['25006', 'ERROR', false, true], ['25006', 'FEHLER', false, true], ['40001', 'ERROR', false, true], ['40P01', 'ERROR', false, true],
    ['55P03', 'ERROR', false, true], ['57014', 'ERROR', false, true], ['53300', 'ERROR', false, true],
    ['53100', 'ERROR', false, false], ['53200', 'ERROR', false, false], ['42501', 'ERROR', false, false], ['42P01', 'ERROR', false, false],
    ['28P01', 'FATAL', true, false], ['22P05', 'ERROR', false, false], ['23505', 'ERROR', false, false]
  ]
  for (const [code, severity, mayHappened, notNow] of errors) {
    const error = Object.assign(new Error(code), { code, severity })
    t.strictSame([mayHaveRun(error), isNotNow(error)], [mayHappened, notNow], `${severity} ${code}`)
  }
  t.ok(mayHaveRun(new Error('Connection terminated unexpectedly')))
})

t.test('with real servers: what was rolled back, or never sent, is never OUTCOME_UNKNOWN', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  const role = tableName
  await sql.query(`CREATE ROLE ${role} LOGIN SUPERUSER PASSWORD 'theirs'`)
  t.teardown(() => sql.query(`DROP OWNED BY ${role}; DROP ROLE ${role}`))
  const url = new URL(connectionString)
  url.username = role
  url.password = 'theirs'
  const backend = new PostgresBackend({ connectionString: url.href, tableName, commandTimeoutMs: 2000 })
  await backend.connect()
  t.teardown(() => backend.close())
  const { epoch } = await backend.read('k')
  const request = (): CommitRequest => ({ base: { epoch, version: 0, id: '' }, commits: [{ id: randomUUID(), patches: '[]' }] })
  const reconnect = async (): Promise<void> => {
    const { rows } = await sql.query('SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role])
    const pids = rows.map(({ pid }) => pid)
    await until(async () => (await sql.query('SELECT FROM pg_stat_activity WHERE pid = ANY($1)', [pids])).rowCount === 0)
    // each connection of the pool learns that it has ended
    await Promise.allSettled(Array.from({ length: 8 }, () => backend.get('k')))
  }
  // a read-only server is said for new connections
  await sql.query(`ALTER ROLE ${role} SET default_transaction_read_only = on`)
  await reconnect()
  await t.rejects(backend.commit('k', request()), { code: 'BACKEND_UNAVAILABLE', cause: { code: '25006' } })
  await sql.query(`ALTER ROLE ${role} RESET default_transaction_read_only; ALTER ROLE ${role} SET lock_timeout = 50`)
  await reconnect()
  await sql.query(`BEGIN; LOCK TABLE ${tableName} IN ACCESS EXCLUSIVE MODE`)
  await t.rejects(backend.commit('k', request()), { code: 'BACKEND_UNAVAILABLE', cause: { code: '55P03' } })
  const waits = backend.commit('k', request())
  await sql.query('ROLLBACK')
  t.match(await waits, { accepted: true }, 'a commit that waits happens once that is over')
  await sql.query(`ALTER ROLE ${role} NOLOGIN`)
  await reconnect()
  await t.rejects(backend.commit('k', request()), { code: 'BACKEND_REFUSED', cause: { code: '28000' } })
})

t.test('postgres errors: a store that was never asked leaves nothing in doubt', async (t) => {
  const server = await postgresServer(t)
  const backend = new PostgresBackend({ connectionString: server.url, commandTimeoutMs: 2000 })
  await backend.connect()
  t.teardown(() => backend.close())
  const { epoch } = await backend.read('k')
  await server.process.kill()
  await backend.get('k').catch(() => {}) // by now it knows
  await t.rejects(backend.commit('k', { base: { epoch, version: 0, id: '' }, commits: [] }), { code: 'BACKEND_UNAVAILABLE' })
})
