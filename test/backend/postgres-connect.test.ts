import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, type Socket, createServer } from 'node:net'
import pg from 'pg'
import t from 'tap'
import { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import type { PostgresBackendOptions } from '../../lib/backend/postgres/postgres-options.js'
import { postgresServer } from '../helpers/postgres-server.js'
import { proxy } from '../helpers/proxy.js'
import { freePort } from '../helpers/server-process.js'
import { admin, connectionString, named, ownTables, two } from './postgres-tables.js'
import { until } from '../helpers/until.js'

interface Test { teardown (fn: () => unknown): void }

/** It takes connections, and says nothing. */
async function silentServer (t: Test): Promise<{ port: number, sockets: Set<Socket> }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}) // it was cut
    socket.on('close', () => { sockets.delete(socket) })
    socket.resume()
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port, sockets }
}

async function connectionsOf (sql: pg.Client, name: string): Promise<number> {
  return (await sql.query('SELECT FROM pg_stat_activity WHERE application_name = $1', [name])).rowCount!
}

t.test('postgres connect: many processes may start at once', async (t) => {
  const tableName = ownTables(t)
  const backends = Array.from({ length: 12 }, () => new PostgresBackend({ connectionString, tableName, poolSize: 1 }))
  await Promise.all(backends.map((backend) => backend.connect()))
  const epochs = await Promise.all(backends.map(async (backend) => (await backend.read('k')).epoch))
  t.equal(new Set(epochs).size, 1)
  await Promise.all(backends.map((backend) => backend.close()))
})

t.test('postgres connect: who may not make tables uses those that are there, in a schema of any name', async (t) => {
  const name = ownTables(t)
  const sql = await admin(t)
  const tableName = `${name}.order`
  await sql.query(`CREATE SCHEMA ${name}; CREATE ROLE ${name} LOGIN PASSWORD 'theirs'; GRANT USAGE ON SCHEMA ${name} TO ${name}`)
  t.teardown(() => sql.query(`DROP SCHEMA ${name} CASCADE; DROP OWNED BY ${name}; DROP ROLE ${name}`))
  const url = new URL(connectionString)
  url.username = name
  url.password = 'theirs'
  const backend = new PostgresBackend({ connectionString: url.href, tableName })
  await t.rejects(backend.connect(), { code: 'BACKEND_REFUSED', message: /option connectionString \(postgres:.*permission denied/ })
  await sql.query(PostgresBackend.tables(tableName))
  await sql.query(`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${name} TO ${name}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA ${name} TO ${name}`)
  await backend.connect()
  const heard: unknown[] = []
  await backend.subscribe('k', (_, value) => { heard.push(value) }).ready
  await backend.publish('k', 'x'.repeat(9000))
  await until(() => heard.length === 1)
  const { epoch } = await backend.read('k')
  t.match(await backend.commit('k', { base: { epoch, version: 0, id: '' }, commits: [{ id: 'one', patches: '[]' }] }), { accepted: true })
  t.match(await backend.consume('k', { windowMs: 1000, maxRequests: 1 }, 1), { allowed: true })
  await backend.close()

  // only the owner of the tables may build the index that an older version lacks
  await sql.query(`DROP INDEX ${name}.order_names`)
  const errors: string[] = []
  const next = new PostgresBackend({ connectionString: url.href, tableName })
  await next.connect({ error: (_, message) => { errors.push(message) }, info: () => {} })
  await until(() => errors.length > 0)
  t.match(errors, [`CREATE INDEX CONCURRENTLY IF NOT EXISTS "order_names" ON "${name}"."order"`])
  t.strictSame(await next.liveKeys('k'), [])
  await next.close()
})

t.test('postgres connect: tables of an older version get the index on names, beside commits, by one process of many', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  await sql.query(PostgresBackend.tables(tableName))
  const isIndexed = async (): Promise<boolean> => (await sql.query('SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND indisvalid', [`${tableName}_names`])).rows.length === 1
  const breakIt: Record<string, string> = {
    'it is missing': `DROP INDEX ${tableName}_names`,
    'its build was cut off': `UPDATE pg_index SET indisvalid = false WHERE indexrelid = '${tableName}_names'::regclass`
  }
  for (const [name, text] of Object.entries(breakIt)) {
    await sql.query(text)
    const log = { errors: 0, error () { log.errors++ }, info () {} }
    // a transaction under way holds the build up, and nobody else
    const other = await admin(t)
    await other.query(`BEGIN; UPDATE ${tableName} SET version = version`)
    const backends = Array.from({ length: 6 }, () => new PostgresBackend({ connectionString, tableName, poolSize: 1 }))
    await Promise.all(backends.map((backend) => backend.connect(log)))
    const [a] = backends
    const key = randomUUID()
    const { epoch } = await a!.read(key)
    t.match(await a!.commit(key, { base: { epoch, version: 0, id: '' }, commits: [{ id: 'one', patches: '[]' }], live: true, snapshot: { version: 1, value: '1' } }), { accepted: true }, name)
    t.ok((await a!.liveKeys(key)).includes(key), name)
    t.notOk(await isIndexed(), name)
    await other.query('COMMIT')
    await until(isIndexed)
    await Promise.all(backends.map((backend) => backend.close()))
    t.equal(log.errors, 0, name)
  }
})

t.test('postgres connect: tables are unlogged where that is wanted', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  await two(t, { tableName, unlogged: true })
  const { rows } = await sql.query("SELECT relpersistence FROM pg_class WHERE relkind = 'r' AND relname LIKE $1", [`${tableName}%`])
  t.strictSame(rows, Array(6).fill({ relpersistence: 'u' }))
})

t.test('postgres connect: what cannot be used is refused in time, by name', async (t) => {
  const silent = await silentServer(t)
  const secured = await postgresServer(t, { password: 'secret' })
  const url = (change: (url: URL) => void, of = connectionString): string => {
    const changed = new URL(of)
    change(changed)
    return changed.href
  }
  const nowhere = await freePort()
  const pool = new pg.Pool({ host: '127.0.0.1', port: silent.port, password: 'hidden' })
  const cases: Array<[options: PostgresBackendOptions, code: string, message: RegExp]> = [
    [{ connectionString: url((url) => { url.port = String(nowhere); url.password = 'hidden' }) }, 'BACKEND_UNAVAILABLE', /option connectionString \(postgres:\/\/postgres:\*\*\*@127.*ECONNREFUSED/],
    [{ connectionString: 'postgres://no-such-host.invalid' }, 'BACKEND_UNAVAILABLE', /option connectionString .*no-such-host/],
    [{ connectionString: url((url) => { url.port = String(silent.port) }), connectTimeoutMs: 300 }, 'BACKEND_UNAVAILABLE', /option connectionString .*connectTimeoutMs/],
    [{ pool, connectTimeoutMs: 300 }, 'BACKEND_UNAVAILABLE', /option pool: .*connectTimeoutMs/],
    [{ connectionString: url((url) => { url.pathname = '/no_such_database' }) }, 'BACKEND_REFUSED', /option connectionString .*"no_such_database" does not exist/],
    [{ connectionString: url((url) => { url.password = 'hidden' }, secured.url) }, 'BACKEND_REFUSED', /option connectionString .*password authentication failed/],
    [{ connectionString, tableName: 'no_such_schema.datasole' }, 'BACKEND_REFUSED', /option tableName \(no_such_schema\.datasole\): .*no_such_schema/]
  ]
  for (const [options, code, message] of cases) {
    const backend = new PostgresBackend(options)
    const error = await backend.connect().then(() => undefined, (thrown: Error) => thrown)
    t.match(error, { code, message })
    t.notMatch(error?.message, /hidden|secret/, 'passwords are not shown')
  }
  await until(() => silent.sockets.size === 1)
  t.equal(pool.ended, false, 'only the connection of the user\'s pool is left')
  for (const socket of silent.sockets) socket.destroy()
  await pool.end()

  const backend = new PostgresBackend({ connectionString: secured.url })
  await backend.connect()
  await backend.close()
})

t.test('postgres connect: a connection that is ready and terminated in one breath brings nobody down', async (t) => {
  const packet = (type: string, body: string): Buffer => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(4 + body.length)
    return Buffer.concat([Buffer.from(type), length, Buffer.from(body)])
  }
  const server = createServer((socket) => {
    socket.on('error', () => {}) // it was cut
    socket.once('data', () => { socket.end(Buffer.concat([packet('R', '\0\0\0\0'), packet('Z', 'I'), packet('E', 'SFATAL\0C57P01\0Mterminating connection\0\0')])) })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const backend = new PostgresBackend({ connectionString: `postgres://postgres@127.0.0.1:${(server.address() as AddressInfo).port}/postgres` })
  await t.rejects(backend.connect(), { code: 'BACKEND_UNAVAILABLE', message: /option connectionString/ })
})

t.test('postgres connect: wrong options are refused by name', async (t) => {
  const pool = new pg.Pool()
  const cases: Array<[name: string, options: object]> = [
    ['connectionstring', { connectionstring: 'postgres://localhost' }],
    ['connectionString', { connectionString: 'localhost' }],
    ['connectionString', { connectionString: 'postgres://user:pass/word@localhost' }],
    ['pool', { pool, connectionString }],
    ['pool', { pool: null }],
    ['pool', { pool: {} }],
    ...['', 'a.b.c', 'a b', 'A', '1a', 'a"b', '.a', 'a'.repeat(51), 5].map((tableName): [string, object] => ['tableName', { tableName }]),
    ['prefix', { prefix: 1 }],
    ['unlogged', { unlogged: 'yes' }],
    ...['poolSize', 'connectTimeoutMs', 'commandTimeoutMs', 'maxCommands'].flatMap((name): Array<[string, object]> => [[name, { [name]: 0 }], [name, { [name]: '1' }]])
  ]
  for (const [name, options] of cases) {
    let thrown: unknown
    try { void new PostgresBackend(options as PostgresBackendOptions) } catch (error) { thrown = error }
    t.match(thrown, { code: 'INVALID_OPTION', message: `PostgresBackend: option ${name} ` }, JSON.stringify(Object.entries(options).filter(([name]) => name !== 'pool')))
    t.notMatch((thrown as Error | undefined)?.message, /pass\/word/)
  }
  for (const options of [{ tableName: `${'s'.repeat(63)}.${'t'.repeat(50)}` }, { connectionString: 'postgresql://user:p@/db?host=/var/run' }, { pool }]) t.ok(new PostgresBackend(options))
})

t.test('postgres connect: names as long as they may be', async (t) => {
  const tableName = `${ownTables(t)}${'x'.repeat(17)}`
  const sql = await admin(t)
  t.teardown(async () => {
    const { rows } = await sql.query<{ name: string }>("SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relname LIKE $1", [`${tableName}%`])
    for (const { name } of rows) await sql.query(`DROP TABLE ${name}`)
  })
  const [a, b] = await two(t, { tableName })
  await a.set('k', 1)
  t.equal(await b.get('k'), 1)
  t.match(await a.consume('k', { windowMs: 1000, maxRequests: 1 }, 1), { allowed: true })
})

t.test('postgres connect: a pool of the user\'s is used and left open', async (t) => {
  // the password is one that a pool hides from those who copy its options
  const server = await postgresServer(t, { password: 'secret' })
  const sql = await admin(t, server.url)
  const pool = new pg.Pool({ host: '127.0.0.1', port: server.port, user: 'postgres', database: 'postgres', password: 'secret', application_name: 'ours', max: 2 })
  const backend = new PostgresBackend({ pool })
  await backend.connect()
  const heard: unknown[] = []
  await backend.subscribe('k', (_, value) => { heard.push(value) }).ready
  await Promise.all(Array.from({ length: 10 }, (_, i) => backend.publish('k', i)))
  await until(() => heard.length === 10)
  await pool.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()', ['ours'])
  await backend.set('k', 1)
  t.equal(await backend.get('k'), 1)
  await backend.close()
  t.equal(pool.listenerCount('error'), 0)
  await until(async () => await connectionsOf(sql, 'ours') === pool.totalCount)
  t.strictSame((await pool.query('SELECT 1 AS one')).rows, [{ one: 1 }])
  await pool.end()
})

t.test('postgres connect: it is used by several servers, and closed with the last', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  const backend = new PostgresBackend({ connectionString: named(tableName), tableName })
  await t.rejects(backend.get('k'), { code: 'NOT_STARTED' })
  await t.rejects(backend.commit('k', { base: { epoch: '', version: 0, id: '' }, commits: [] }), { code: 'NOT_STARTED' })
  const heard: unknown[] = []
  const early = backend.subscribe('k', (_, value) => { heard.push(value) })
  await Promise.all([backend.connect(), backend.connect()])
  await early.ready
  await backend.publish('k', 'early')
  await until(() => heard.length === 1)
  await backend.close()
  await backend.set('k', 1)
  t.equal(await backend.get('k'), 1)
  // what was published is on its way before the end
  const other = new PostgresBackend({ connectionString, tableName })
  await other.connect()
  await other.subscribe('k', (_, value) => { heard.push(value) }).ready
  const last = Array.from({ length: 500 }, (_, i) => backend.publish('k', i))
  await backend.close()
  await Promise.all(last)
  await until(() => heard.filter((value) => value === 499).length >= 1)
  await until(async () => await connectionsOf(sql, tableName) === 0)
  await t.rejects(backend.get('k'), { code: 'CLOSED' })
  await other.close()
})

t.test('postgres connect: a server that does not answer cannot hold up the end', async (t) => {
  const { port } = new URL(connectionString)
  const way = await proxy(t, Number(port))
  const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  const tableName = ownTables(t)
  await two(t, { tableName })
  const before = sockets()
  const url = new URL(connectionString)
  url.port = String(way.port)
  const backend = new PostgresBackend({ connectionString: url.href, tableName })
  await backend.connect()
  t.ok(sockets() > before)
  way.swallow('up')
  const asked = Promise.allSettled(Array.from({ length: 3 }, () => backend.get('k')))
  await backend.close()
  const outcomes = await asked
  const failures = outcomes.flatMap((outcome) => outcome.status === 'rejected' ? outcome.reason.code : [])
  t.strictSame(failures, ['CLOSED'], 'new connections answer what waits, the half-open one does not')
  await until(() => sockets() <= before)
})

t.test('postgres connect: more calls than it may hold are refused, and a message is not kept for later', async (t) => {
  const server = await postgresServer(t)
  const backend = new PostgresBackend({ connectionString: server.url, maxCommands: 10, commandTimeoutMs: 2000 })
  await backend.connect()
  t.teardown(() => backend.close())
  const { epoch } = await backend.read('k')
  await server.process.kill()
  const outcomes = await Promise.allSettled(Array.from({ length: 15 }, (_, i) => backend.set('k', i)))
  const codes = outcomes.map((outcome) => outcome.status === 'rejected' ? outcome.reason.code : 'fulfilled')
  t.strictSame(codes, [...Array(10).fill('BACKEND_UNAVAILABLE'), ...Array(5).fill('BUSY')])
  await t.rejects(backend.publish('k', 1), { code: 'BACKEND_UNAVAILABLE' })
  await t.rejects(backend.commit('k', { base: { epoch, version: 0, id: '' }, commits: [] }), { code: 'BACKEND_UNAVAILABLE' }, 'what was never sent has no unknown outcome')
})
