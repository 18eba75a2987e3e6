import { createHash, randomUUID } from 'node:crypto'
import { DatasoleError, coded, invalidArgument } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { BackendLog, CommitRequest, CommitResult, KeyRecord, LogEntry, Position, StateBackend } from '../backend.js'
import { encodeValue, encodeNotice } from '../notice.js'
import { prefixRange } from '../prefix-range.js'
import { PostgresConnection } from './postgres-connection.js'
import { type PostgresBackendOptions, type PostgresSettings, checkPostgresOptions } from './postgres-options.js'
import { MAX_NOTIFICATION } from './postgres-publisher.js'
import type { Row } from './postgres-queries.js'
import { HISTORY, REMEMBERED_TERMS, type Statement, type Statements, TERM, sha256, statementsOf } from './postgres-statements.js'
import { INDEXED, createTables } from './postgres-tables.js'

/** Bounds on older commits that the log keeps for recovery: bytes (or the size of the snapshot), and commits. */
const MIN_LOG = 64 * 1024
const MAX_ENTRIES = 1000

/**
 * State and pub/sub in Postgres 13 or newer. All processes with the same database, tables and prefix share it. A commit
 * is one statement, which also notifies.
 *
 * A call waits up to `commandTimeoutMs` while Postgres is unavailable. Then it rejects with DatasoleError
 * `BACKEND_UNAVAILABLE`. It rejects with `BUSY` beyond `maxCommands`, and with `BACKEND_REFUSED` if Postgres refuses
 * it.
 *
 * @throws DatasoleError `INVALID_OPTION`, naming the option
 */
export class PostgresBackend implements StateBackend {
  readonly #settings: PostgresSettings
  readonly #sql: Statements
  readonly #connection: PostgresConnection

  /** @param term @internal seconds: see TERM */
  constructor (options: PostgresBackendOptions = {}, term = TERM) {
    this.#settings = checkPostgresOptions(options)
    this.#sql = statementsOf(this.#settings.tableName, term)
    this.#connection = new PostgresConnection(options, this.#settings, this.#sql, REMEMBERED_TERMS * term * 1000, async () => (await import('pg')).default)
  }

  /**
   * Returns the SQL that creates the tables, for applications that run it themselves.
   * @param tableName default `datasole`
   * @param options.unlogged default false
   * @throws DatasoleError `INVALID_OPTION`
   */
  static tables (tableName = 'datasole', { unlogged = false } = {}): string {
    const settings = checkPostgresOptions({ tableName, unlogged })
    return createTables(settings.tableName, settings.unlogged)
  }

  /**
   * Implements `StateBackend.connect`.
   * @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED` (credentials, database, permission) or
   *   `DRIVER_MISSING`
   */
  async connect (log?: BackendLog): Promise<void> {
    await this.#connection.connect(log)
  }

  /** Implements `StateBackend.close`: ends the connections after the last `close`. */
  async close (): Promise<void> {
    await this.#connection.close()
  }

  /** Implements `StateBackend.get`. */
  async get<T = unknown> (key: string): Promise<T | undefined> {
    const [row] = await this.#repeat(this.#sql.get, this.#hash(key))
    return row === undefined ? undefined : JSON.parse(row.value as string) as T
  }

  /**
   * Implements `StateBackend.set`.
   * @throws TypeError `INVALID_JSON`, or `INVALID_ARGUMENT` for undefined, if JSON cannot hold the value
   */
  async set<T = unknown> (key: string, value: T): Promise<void> {
    const json = stringify(value)
    if (json === undefined) throw invalidArgument(`PostgresBackend.set("${key}"): the value is not JSON`)
    await this.#repeat(this.#sql.set, this.#hash(key), json)
  }

  /** Implements `StateBackend.delete`. */
  async delete (key: string): Promise<boolean> {
    const [row] = await this.#repeat(this.#sql.delete, this.#hash(key))
    return row?.existed === true
  }

  /** Implements `StateBackend.expire`. @param ttlMs ms */
  async expire (key: string, ttlMs: number): Promise<boolean> {
    return (await this.#repeat(this.#sql.expire, this.#hash(key), ttlMs)).length > 0
  }

  /** Implements `StateBackend.subscribe`. */
  subscribe (key: string, handler: (key: string, value: unknown) => void): Unsubscribe & { ready: Promise<void> } {
    return this.#connection.channels.add(this.#channel(key), key, handler)
  }

  /** Implements `StateBackend.publish`. */
  async publish (key: string, value: unknown): Promise<void> {
    await this.#connection.publish(this.#channel(key), encodeValue(value))
  }

  /** Implements `StateBackend.onDoubt`: calls `fn` after a reconnect. */
  onDoubt (fn: () => void): Unsubscribe {
    return this.#connection.onMessagesLost(fn)
  }

  /**
   * Implements `Journal.commit`.
   * @throws DatasoleError `OUTCOME_UNKNOWN` if an attempt may have taken effect
   */
  async commit (key: string, request: CommitRequest): Promise<CommitResult> {
    const { base, commits, reset, snapshot, ttlMs } = request
    const [statement, ...values] = reset === undefined ? this.#commitQuery(key, request) : this.#resetQuery(key, base, reset, ttlMs)
    if (reset !== undefined && base.version === 0) await this.#repeat(this.#sql.tombstone, this.#hash(key), this.#text(key), HISTORY, base.epoch)
    let isUnsure = false
    try {
      const [accepted] = await this.#connection.repeat(statement, values, () => { isUnsure = true })
      if (accepted !== undefined) {
        if (snapshot !== undefined) this.#compact(key, base.epoch, snapshot.value.length)
        return { accepted: true, epoch: accepted.epoch as string, version: Number(accepted.version), logBytes: Number(accepted.log_bytes) }
      }
      // an expired row is not visible, but it would block a first commit
      if (base.version === 0) await this.#repeat(this.#sql.forget, this.#hash(key))
      const missed = await this.read(key, base)
      // the commit may have been refused because an earlier attempt had taken effect
      if (isUnsure && await this.#tookEffect(key, request, missed)) {
        return { accepted: true, ...reset === undefined ? { epoch: base.epoch, version: base.version + commits.length } : { epoch: reset.epoch, version: reset.value === undefined ? 0 : 1 }, logBytes: 0 }
      }
      return { accepted: false, missed }
    } catch (error) {
      throw isUnsure ? outcomeUnknown(key, error) : error
    }
  }

  /** Implements `Journal.read`. */
  async read (key: string, have?: Position): Promise<KeyRecord> {
    for (;;) {
      const [row] = await this.#repeat(this.#sql.read, this.#hash(key), HISTORY, have?.epoch ?? '', have?.version ?? 0, have?.id ?? '')
      if (row!.epoch !== null) return recordOf(row!)
      const epoch = row!.absent as string | null
      // a store that is empty, or has lost its data, has no history yet
      if (epoch === null) await this.#repeat(this.#sql.makeHistory, HISTORY, randomUUID())
      else return { epoch, version: 0, id: '', live: false, commits: [], ...have?.epoch === epoch && have.version > 0 && { isLost: true } }
    }
  }

  /** Implements `Journal.liveKeys`. */
  async liveKeys (prefix = ''): Promise<string[]> {
    const wanted = this.#settings.prefix + prefix
    const { from, to } = prefixRange(wanted, (text) => JSON.stringify(text).slice(0, -1).slice(0, INDEXED))!
    const rows = await this.#repeat(this.#sql.liveKeys, from, to)
    const keys = rows.map(({ key }) => JSON.parse(key as string) as string)
    return keys.filter((key) => key.startsWith(wanted)).map((key) => key.slice(this.#settings.prefix.length))
  }

  /**
   * Implements `StateBackend.consume`. The request is sent only once, because a second attempt would count twice.
   * @throws RangeError `INVALID_ARGUMENT` if `cost` is over `rule.maxRequests`
   */
  async consume (bucket: string, rule: RateLimitRule, cost: number): Promise<RateLimitResult> {
    if (cost > rule.maxRequests) throw coded(new RangeError(`consume("${bucket}"): a cost of ${cost} is over maxRequests (${rule.maxRequests})`), 'INVALID_ARGUMENT')
    const values = [this.#hash(bucket), rule.windowMs, rule.maxRequests, cost]
    let row: Row | undefined
    for (;;) {
      [row] = await this.#connection.once(this.#sql.consume, ...values)
      if (row !== undefined) break
      await this.#repeat(this.#sql.makeBucket, values[0])
    }
    const [allowed, remaining, emptyIn, retryAfter] = (row.outcome as string[]).map(Number)
    const result: RateLimitResult = { allowed: allowed === 1, remaining: remaining!, resetAt: Date.now() + emptyIn! }
    return result.allowed ? result : { ...result, retryAfter: retryAfter! }
  }

  #commitQuery (key: string, { base, commits, live = false, snapshot, ttlMs }: CommitRequest): [Statement, ...unknown[]] {
    const head = { epoch: base.epoch, version: base.version + commits.length, id: commits.at(-1)?.id ?? base.id }
    const whole = encodeNotice({ base, head, commits })
    const notice = Buffer.byteLength(whole) > MAX_NOTIFICATION ? encodeNotice({ base, head }) : whole
    const sinceSnapshot = snapshot === undefined ? commits : commits.slice(snapshot.version - base.version)
    const bytes = sinceSnapshot.reduce((sum, { patches }) => sum + patches.length, 0)
    return [
      this.#sql.commit, this.#hash(key), this.#text(key), HISTORY, base.epoch, base.version, base.id, live,
      commits.map(({ id }) => id), commits.map(({ patches }) => patches), bytes, this.#channel(key), notice, snapshot?.version, snapshot?.value, ttlMs
    ]
  }

  #resetQuery (key: string, base: Position, { epoch, id, value }: NonNullable<CommitRequest['reset']>, ttlMs: number | undefined): [Statement, ...unknown[]] {
    const head = value === undefined ? { epoch, version: 0, id: '' } : { epoch, version: 1, id }
    return [this.#sql.reset, this.#hash(key), base.epoch, base.version, base.id, epoch, value, id, this.#channel(key), encodeNotice({ base, head }), ttlMs]
  }

  async #tookEffect (key: string, { base, commits, reset }: CommitRequest, { epoch, version }: KeyRecord): Promise<boolean> {
    if (reset !== undefined && epoch === reset.epoch) return true
    if (epoch !== base.epoch) throw new Error('the epoch of the commit is over')
    if (commits.length === 0 || version < base.version + commits.length) return false
    const [row] = await this.#repeat(this.#sql.idAt, this.#hash(key), base.version + 1)
    if (row === undefined) throw new Error('the log no longer goes back to the commit')
    return row.id === commits[0]!.id
  }

  #compact (key: string, epoch: string, bytes: number): void {
    this.#repeat(this.#sql.compact, this.#hash(key), epoch, Math.max(MIN_LOG, bytes), MAX_ENTRIES).catch(() => {
      // the next snapshot compacts the log again
    })
  }

  async #repeat (statement: Statement, ...values: unknown[]): Promise<Row[]> {
    return await this.#connection.repeat(statement, values)
  }

  /** The key as JSON, because Postgres cannot store every character. */
  #text (key: string): string { return JSON.stringify(this.#settings.prefix + key) }

  #hash (key: string): Buffer { return sha256(this.#text(key)) }

  /** A hash, because names of channels have at most 63 bytes. */
  #channel (key: string): string {
    return `ds_${createHash('sha1').update(`${this.#settings.tableName}\n${this.#text(key)}`).digest('hex')}`
  }
}

function outcomeUnknown (key: string, cause?: unknown): DatasoleError {
  return new DatasoleError('OUTCOME_UNKNOWN', `the commit to "${key}" may or may not have taken effect: read the key before you try again`, { cause })
}

function recordOf ({ epoch, version, id, live, lost, connects, snapshot_version: snapshotVersion, snapshot, ids, patches }: Row): KeyRecord {
  const commits = (ids as string[] | null ?? []).map((entryId, i): LogEntry => ({ id: entryId, patches: (patches as string[])[i]! }))
  const record: KeyRecord = { epoch: epoch as string, version: Number(version), id: id as string, live: live === true, commits }
  if (connects !== true && Number(snapshotVersion) > 0) record.snapshot = { version: Number(snapshotVersion), value: snapshot as string }
  if (lost === true) record.isLost = true
  return record
}
