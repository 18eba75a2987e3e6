import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { CommitNotice, LogEntry, Position } from '../../lib/backend/backend.js'
import type { PostgresBackend } from '../../lib/backend/postgres/postgres.js'
import { proxy } from '../helpers/proxy.js'
import { contract, valueOf } from './contract.js'
import { Deletions } from './deletions.js'
import { admin, connectionString, named, ownTables, two } from './postgres-tables.js'
import { until } from '../helpers/until.js'

contract(t as never, (t) => two(t), { makeForgetful: (t) => two(t, {}, 0.03) })

function replace (value: unknown): LogEntry {
  return { id: randomUUID(), patches: JSON.stringify([{ op: 'replace', path: '', value }]) }
}

async function startOf (backend: PostgresBackend, key: string): Promise<Position> {
  const { epoch, version, id } = await backend.read(key)
  return { epoch, version, id }
}

const after = ({ epoch, version }: Position, ...entries: LogEntry[]): Position => ({ epoch, version: version + entries.length, id: entries.at(-1)!.id })

/** Through the proxy of a test, whose faults are then the way's. */
function by (port: number): string {
  const url = new URL(connectionString)
  url.host = `127.0.0.1:${port}`
  return url.href
}

t.test('postgres: values and patches of 900 KB', async (t) => {
  const [a, b] = await two(t)
  const big = { text: `\u0000\ud800${'ü'.repeat(450_000)}` }
  await a.set('k', big)
  t.equal(JSON.stringify(await b.get('k')), JSON.stringify(big))
  const notices: CommitNotice[] = []
  await b.subscribe('k', (_, notice) => { notices.push(notice as CommitNotice) }).ready
  const base = await startOf(a, 'k')
  const entries = [replace(big), replace(1)]
  await a.commit('k', { base, commits: entries.slice(0, 1), live: true, snapshot: { version: 1, value: JSON.stringify(big) } })
  await a.commit('k', { base: after(base, entries[0]!), commits: entries.slice(1) })
  t.equal(valueOf(await b.read('k')), 1)
  await until(() => notices.length === 2)
  t.strictSame(notices.map(({ commits }) => commits), [undefined, [entries[1]]], 'what is too long for a notification is read')
})

t.test('postgres: messages of any length arrive in the order in which they were published', async (t) => {
  const [a, b] = await two(t)
  const heard: unknown[][] = [[], []]
  for (const [i, each] of [a, b].entries()) await each.subscribe('k', (_, value) => { heard[i]!.push(value) }).ready
  // some have equals, some are too long for a notification, and nobody waits
  const messages = Array.from({ length: 1000 }, (_, i) => i % 50 === 0 ? `${i} ${'ü'.repeat(7000)}` : i % 3 === 0 ? 'the same' : i)
  await Promise.all(messages.map((message) => a.publish('k', message)))
  for (const each of heard) {
    await until(() => each.length === messages.length)
    t.strictSame(each, messages)
  }
})

t.test('postgres: long messages are kept for a minute, and who comes too late is told', async (t) => {
  const tableName = ownTables(t)
  const [a, b] = await two(t, { tableName })
  const sql = await admin(t)
  const long = 'x'.repeat(10_000)
  for (let i = 0; i < 3; i++) await a.publish('k', long)
  await sql.query(`UPDATE ${tableName}_messages SET sent_at = sent_at - interval '2 minutes'`)
  await a.publish('k', long)
  t.equal((await sql.query(`SELECT FROM ${tableName}_messages`)).rowCount, 1)

  const [heard, logged]: [unknown[], string[]] = [[], []]
  let doubts = 0
  b.onDoubt(() => { doubts++ })
  await b.connect({ error: (_, message) => { logged.push(message) }, info: () => {} })
  t.teardown(() => b.close())
  await b.subscribe('k', (_, value) => { heard.push(value) }).ready
  // removed before anyone can ask for it
  await sql.query(`CREATE FUNCTION ${tableName}_gone() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM ${tableName}_messages WHERE id = NEW.id; RETURN NULL; END'`)
  t.teardown(() => sql.query(`DROP FUNCTION ${tableName}_gone CASCADE`))
  await sql.query(`CREATE TRIGGER gone AFTER INSERT ON ${tableName}_messages FOR EACH ROW EXECUTE FUNCTION ${tableName}_gone()`)
  await a.publish('k', long)
  await a.publish('k', 'short')
  await until(() => heard.length > 0)
  t.strictSame([heard, doubts], [['short'], 1])
  t.match(logged, [/could not be fetched/])
})

t.test('postgres: the log is bounded, and the ids of the last 1,000 commits outlive it', async (t) => {
  const tableName = ownTables(t)
  const [a, b] = await two(t, { tableName })
  const sql = await admin(t)
  const start = await startOf(a, 'k')
  const entries = Array.from({ length: 1500 }, (_, n) => replace({ n, pad: 'x'.repeat(200) }))
  for (let n = 0; n < 1500; n += 100) {
    const base = n === 0 ? start : after(start, ...entries.slice(0, n))
    const snapshot = { version: n + 100, value: JSON.stringify(n + 99) }
    t.match(await a.commit('k', { base, commits: entries.slice(n, n + 100), snapshot }), { accepted: true, logBytes: 0 })
  }
  const count = async (where = 'true'): Promise<number> => (await sql.query(`SELECT FROM ${tableName}_log WHERE ${where}`)).rowCount!
  const kept = Math.ceil(65_536 / entries[1499]!.patches.length)
  // it is compacted in the background, after each snapshot: as much as recovery is promised
  await until(async () => await count() === 1000 && await count('patches IS NOT NULL') === kept)

  const at = (version: number): Position => ({ epoch: start.epoch, version, id: entries[version - 1]!.id })
  t.equal((await b.read('k', at(1500 - kept))).commits.length, kept)
  for (const version of [1499 - kept, 501, 500, 1]) {
    const record = await b.read('k', at(version))
    t.match(record, { snapshot: { version: 1500 }, commits: [] })
    t.notOk(record.isLost)
  }
  t.equal((await b.read('k', { ...at(501), id: 'another' })).isLost, true)
})

t.test('postgres: a commit whose reply was lost is found again, and applied once', async (t) => {
  const tableName = ownTables(t)
  const way = await proxy(t, Number(new URL(connectionString).port))
  const [a] = await two(t, { tableName, connectionString: by(way.port) })
  const [b] = await two(t, { tableName })
  /** Sends on connections whose answers are lost, and lets them break once it has taken effect. */
  const withoutReply = async <T>(send: () => Promise<T>, meanwhile: () => Promise<unknown>): Promise<T> => {
    const { epoch, version } = await b.read('k')
    way.swallow('down')
    const sent = send()
    sent.catch(() => {}) // it is awaited below
    await until(async () => {
      const now = await b.read('k')
      return now.version !== version || now.epoch !== epoch
    })
    await meanwhile()
    way.cut()
    return await sent
  }
  const start = await startOf(b, 'k')
  const entries = [replace(1), replace(2), replace(3)]
  const head = after(start, ...entries)
  t.match(await withoutReply(() => a.commit('k', { base: start, commits: entries.slice(0, 2) }), async () => {
    await b.commit('k', { base: after(start, ...entries.slice(0, 2)), commits: entries.slice(2) })
  }), { accepted: true, epoch: start.epoch, version: 2 }, 'also when others have gone on')
  t.match(await b.read('k'), { version: 3, id: head.id })

  const reset = { epoch: randomUUID(), id: randomUUID(), value: '"reset"' }
  t.match(await withoutReply(() => a.commit('k', { base: head, commits: [], reset }), async () => {}), { accepted: true, epoch: reset.epoch, version: 1 })
  t.match(await b.read('k'), { epoch: reset.epoch, version: 1 })

  const next = { epoch: randomUUID(), id: randomUUID(), value: '0' }
  await t.rejects(withoutReply(() => a.commit('k', { base: { epoch: reset.epoch, version: 1, id: reset.id }, commits: [replace(1)] }), async () => {
    await b.commit('k', { base: await startOf(b, 'k'), commits: [], reset: next })
  }), { code: 'OUTCOME_UNKNOWN' }, 'where that epoch is over')
  t.match(await b.read('k'), { epoch: next.epoch, version: 1 })

  const many = Array.from({ length: 1001 }, (_, n) => replace(n))
  const base = { epoch: next.epoch, version: 1, id: next.id }
  await t.rejects(withoutReply(() => a.commit('k', { base, commits: many.slice(0, 1) }), async () => {
    const snapshot = { version: 1002, value: '"later"' }
    await b.commit('k', { base: after(base, many[0]!), commits: many.slice(1), snapshot })
    const sql = await admin(t)
    await until(async () => (await sql.query(`SELECT FROM ${tableName}_log WHERE version = 2`)).rowCount === 0)
  }), { code: 'OUTCOME_UNKNOWN' }, 'where the log does not go back that far')
})

t.test('what Postgres itself refuses has a code, and leaves nothing in doubt', async (t) => {
  const tableName = ownTables(t)
  const [a] = await two(t, { tableName })
  const base = await startOf(a, 'k')
  const sql = await admin(t)
  await sql.query(`ALTER TABLE ${tableName} RENAME TO ${tableName}_away`)
  await t.rejects(a.commit('k', { base, commits: [replace(1)] }), { code: 'BACKEND_REFUSED', message: /^Postgres refused the call: relation .* does not exist/, cause: { code: '42P01' } })
  await sql.query(`ALTER TABLE ${tableName}_away RENAME TO ${tableName}`)
  t.match(await a.commit('k', { base, commits: [replace(1)] }), { accepted: true, version: 1 })
})

t.test('postgres: every connection is terminated in the middle of 200 commits', async (t) => {
  const tableName = ownTables(t)
  const nodes = await two(t, { tableName, connectionString: named(tableName) })
  const sql = await admin(t)
  const acknowledged = new Set<string>()
  let terminated = 0
  const write = async (node: PostgresBackend): Promise<void> => {
    let base = await startOf(node, 'k')
    for (let done = 0; done < 50;) {
      const next = replace(done)
      const result = await node.commit('k', { base, commits: [next] })
      if (result.accepted) {
        acknowledged.add(next.id)
        base = after(base, next)
        done++
      } else {
        base = { epoch: result.missed.epoch, version: result.missed.version, id: result.missed.id }
      }
    }
  }
  const writers = Promise.all([...nodes, ...nodes].map(write))
  for (const goal of [40, 80, 120, 160]) {
    await until(() => acknowledged.size >= goal)
    terminated += (await sql.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1', [tableName])).rowCount!
  }
  await writers
  t.ok(terminated >= 4, `${terminated} connections were terminated`)
  const { rows } = await sql.query<{ id: string }>(`SELECT id FROM ${tableName}_log ORDER BY version`)
  t.equal(acknowledged.size, 200)
  t.strictSame(new Set(rows.map(({ id }) => id)), acknowledged, 'none is lost')
  t.equal(rows.length, 200, 'none is doubled')
  t.match(await nodes[0].read('k'), { version: 200 })
})

t.test('postgres: what has expired, and buckets that are empty, go on the way', async (t) => {
  const tableName = ownTables(t)
  const [a, b] = await two(t, { tableName })
  const sql = await admin(t)
  const rowsOf = async (table: string): Promise<number> => (await sql.query(`SELECT FROM ${tableName}_${table} WHERE expires_at IS NOT NULL`)).rowCount!
  for (let i = 0; i < 20; i++) {
    await a.set(`k${i}`, i)
    await a.expire(`k${i}`, 1)
    await a.consume(`b${i}`, { windowMs: 1, maxRequests: 1 }, 1)
  }
  await sql.query(`UPDATE ${tableName}_buckets SET expires_at = now() - interval '1 ms'`)
  await b.set('kept', 1)
  await until(async () => await b.expire('kept', 60_000) && await rowsOf('values') === 1)
  await b.consume('another', { windowMs: 1, maxRequests: 1 }, 1)
  t.equal(await rowsOf('buckets'), 1)
})

t.test('postgres: nothing stays of keys that came and went, those of older versions among them', async (t) => {
  const tableName = ownTables(t)
  const sql = await admin(t)
  const rowsOf = async (table: string): Promise<number> => (await sql.query(`SELECT FROM ${tableName}${table}`)).rowCount!
  // nodes sweep at once, and every 150 ms
  const [a, b] = await two(t, { tableName }, 0.05)
  await sql.query(`INSERT INTO ${tableName} (hash, key, epoch, version, id, live, snapshot_version, log_start, start_id, log_bytes) VALUES ('old', 'old', 'e', 0, '', false, 0, 0, '', 0)`)
  const deletions = new Deletions(t as never, a, b, { forgets: true, hasLog: true })
  const kept = await deletions.create('kept')
  for (let i = 0; i < 250; i++) await deletions.delete(`k${i}`, await deletions.create(`k${i}`))
  await until(async () => await rowsOf('') === 1)
  t.strictSame([await rowsOf('_log'), await rowsOf('_snapshots')], [1, 1])
  t.match(await b.read('kept'), { ...kept, live: true })
})

t.test('postgres: prefixes keep keys apart, whatever characters they have', async (t) => {
  const tableName = ownTables(t)
  const [a] = await two(t, { tableName, prefix: 'a:' })
  const [b] = await two(t, { tableName, prefix: '\u0000' })
  const keys = ['k', '\ud800\u0000', '"', 'x'.repeat(3000)]
  for (const [i, each] of [a, b].entries()) {
    for (const key of keys) {
      await each.set(key, i)
      await each.commit(key, { base: await startOf(each, key), commits: [replace(i)], live: true, snapshot: { version: 1, value: String(i) } })
    }
  }
  for (const [i, each] of [a, b].entries()) {
    for (const key of keys) t.equal(await each.get(key), i)
    t.strictSame((await each.liveKeys()).sort(), [...keys].sort())
  }
})

t.test('postgres: a commit costs what it changes', async (t) => {
  const [a] = await two(t)
  const costOf = async (bytes: number): Promise<number> => {
    const key = randomUUID()
    const pad = Array.from({ length: bytes / 36 }, () => randomUUID()).join('')
    const first = replace({ n: 0, pad })
    let base = await startOf(a, key)
    await a.commit(key, { base, commits: [first], live: true, snapshot: { version: 1, value: JSON.stringify({ n: 0, pad }) } })
    base = after(base, first)
    const started = performance.now()
    for (let n = 1; n <= 200; n++) {
      const next = { id: randomUUID(), patches: `[{"op":"replace","path":"/n","value":${n}}]` }
      t.match(await a.commit(key, { base, commits: [next] }), { accepted: true })
      base = after(base, next)
    }
    return (performance.now() - started) / 200
  }
  await costOf(10_000)
  const [small, large] = [await costOf(10_000), await costOf(1_000_000)]
  t.comment(`a commit of one field: ${small.toFixed(3)} ms at 10 KB, ${large.toFixed(3)} ms at 1 MB`)
})
