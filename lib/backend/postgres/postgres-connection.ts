import { randomUUID } from 'node:crypto'
import { DatasoleError, messageOf } from '../../protocol/errors.js'
import { RetryPolicy } from '../retry-policy.js'
import { hidePassword } from '../backend-options.js'
import { PostgresIndex } from './postgres-index.js'
import { PostgresListener } from './postgres-listener.js'
import type { PostgresBackendOptions, PostgresClient, PostgresSettings } from './postgres-options.js'
import { isNotNow, isReply, mayHaveRun } from '../postgres-errors.js'
import { PostgresPublisher } from './postgres-publisher.js'
import { type PostgresDriver, PostgresQueries, type Row } from './postgres-queries.js'
import { ADOPTED_DELETED, HISTORY, SWEEP, type Statement, type Statements } from './postgres-statements.js'
import { createTables, indexStatements } from './postgres-tables.js'
import { StoreConnection } from '../store-connection.js'

/** SQLSTATEs for which another attempt is useless: credentials, databases, schemas and permissions. */
const REFUSED = /^(28...|3D000|42501|3F000)$/
const NO_SCHEMA = '3F000'

/** A pool for queries, and a connection for notifications, from the first `connect` to the last `close`. */
export class PostgresConnection extends StoreConnection {
  readonly #options: PostgresBackendOptions
  readonly #settings: PostgresSettings
  readonly #sql: Statements
  readonly #sweepInterval: number
  readonly #load: () => Promise<PostgresDriver>
  readonly #publisher: PostgresPublisher
  #queries: PostgresQueries | undefined
  #listener: PostgresListener | undefined
  #index: PostgresIndex | undefined
  #sweeping: NodeJS.Timeout | undefined

  /** @param sweepInterval ms between this process's sweeps of expired rows */
  constructor (options: PostgresBackendOptions, settings: PostgresSettings, sql: Statements, sweepInterval: number, load: () => Promise<PostgresDriver>) {
    super(new RetryPolicy('Postgres', settings, isFault), settings.connectTimeoutMs)
    this.#options = options
    this.#settings = settings
    this.#sql = sql
    this.#sweepInterval = sweepInterval
    this.#load = load
    this.#publisher = new PostgresPublisher(sql, (statement, values) => this.#query(statement, values))
  }

  /** Sends a statement that may safely take effect twice. Calls `unsure` if it fails but may have taken effect. */
  async repeat (statement: Statement, values: unknown[], unsure?: () => void): Promise<Row[]> {
    return await this.policy.repeat(() => this.#query(statement, values, unsure))
  }

  async once (statement: Statement, ...values: unknown[]): Promise<Row[]> {
    return await this.policy.once(() => this.#query(statement, values))
  }

  async publish (channel: string, text: string): Promise<void> {
    await this.policy.once(() => this.#publisher.publish(channel, text))
  }

  async #query (statement: Statement, values: unknown[], unsure?: () => void): Promise<Row[]> {
    if (this.#queries === undefined) throw new DatasoleError('NOT_STARTED', 'PostgresBackend is not connected yet: await connect() (or ds.init()) first')
    let isSent = false
    try {
      const rows = await this.#queries.query({ ...statement, values }, () => { isSent = true })
      this.policy.up('queries')
      return rows
    } catch (error) {
      if (isSent && mayHaveRun(error)) unsure?.()
      if (isFault(error)) this.policy.down('queries', error)
      throw error
    }
  }

  protected async open (attempt: AbortSignal, listen: (listener: PostgresListener) => void): Promise<void> {
    const driver = await this.#load().catch((cause: unknown) => {
      throw new DatasoleError('DRIVER_MISSING', 'PostgresBackend needs the package pg: npm install pg', { cause })
    })
    attempt.throwIfAborted()
    const { connectionString, pool } = this.#options
    const { poolSize, connectTimeoutMs } = this.#settings
    const own = { connectionString, max: poolSize, connectionTimeoutMillis: connectTimeoutMs, keepAlive: true }
    const queries = this.#queries = new PostgresQueries(driver, pool, own)
    const isIndexed = await this.#makeTables(queries)
    attempt.throwIfAborted()
    // `password` in the options of a pool is not enumerable
    const { password } = (pool?.options ?? {}) as { password?: unknown }
    const listening = pool === undefined ? own : { ...pool.options, password, connectionTimeoutMillis: connectTimeoutMs, keepAlive: true }
    const listener = this.#listener = new PostgresListener(this.channels, this.policy, {
      open: () => new driver.Client(listening) as PostgresClient,
      fetch: async (id) => (await this.repeat(this.#sql.fetch, [id]))[0]?.body as string | undefined,
      connectionLost: () => { queries.cutSilent() },
      messagesLost: () => { this.messagesLost() }
    })
    listen(listener)
    await listener.connect()
    attempt.throwIfAborted()
    if (!isIndexed) {
      this.#index = new PostgresIndex(new driver.Client(listening) as PostgresClient, indexStatements(this.#settings.tableName))
      void this.#index.build(this.policy.log)
    }
    this.#sweeping = setInterval(() => { void this.#sweep() }, this.#sweepInterval).unref()
  }

  /** Deletes expired rows. Several processes may do it concurrently. */
  async #sweep (): Promise<void> {
    try {
      while ((await this.repeat(this.#sql.adoptDeleted, [ADOPTED_DELETED])).length > 0);
      while ((await this.repeat(this.#sql.sweep, [])).length === SWEEP);
    } catch {
      // expired rows are not visible, and the next sweep deletes them
    }
  }

  /** Creates missing tables. A role without that permission uses existing ones. @returns whether names are indexed */
  async #makeTables (queries: PostgresQueries): Promise<boolean> {
    const { tableName, unlogged } = this.#settings
    const text = 'SELECT to_regclass($1) AS last, EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($2) AND indisvalid) AS indexed'
    const [row] = await queries.query({ text, values: [`${tableName}_buckets`, `${tableName}_names`] })
    if (row!.last === null) {
      // several processes may start concurrently
      await queries.query({ text: `SELECT pg_advisory_xact_lock(hashtext('datasole')); ${createTables(tableName, unlogged)}` })
    }
    await queries.query({ ...this.#sql.makeHistory, values: [HISTORY, randomUUID()] })
    return row!.last === null || row!.indexed === true
  }

  protected async disconnect (ms: number): Promise<void> {
    clearInterval(this.#sweeping)
    this.#index?.close()
    this.#index = undefined
    const [queries, listener] = [this.#queries, this.#listener]
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, ms) })
    await Promise.race([this.#publisher.drain(), late])
    this.#queries = this.#listener = undefined
    await Promise.all([queries?.close(late), listener?.close(late)])
    clearTimeout(timer)
  }

  protected explain (thrown: unknown): DatasoleError {
    if (thrown instanceof DatasoleError) return thrown
    const { connectionString, pool } = this.#options
    const code = String((thrown as { code?: unknown }).code)
    const database = pool !== undefined ? 'pool' : `connectionString (${connectionString === undefined ? 'not given; PGHOST and others apply' : hidePassword(connectionString)})`
    const option = code === NO_SCHEMA ? `tableName (${this.#settings.tableName})` : database
    const isRefused = REFUSED.test(code)
    return new DatasoleError(isRefused ? 'BACKEND_REFUSED' : 'BACKEND_UNAVAILABLE', `PostgresBackend: option ${option}: ${reasonOf(thrown)}`, { cause: thrown })
  }
}

/** Whether the error means that Postgres is unavailable, not that it refused the statement. */
function isFault (error: unknown): boolean {
  if (isReply(error)) return isNotNow(error)
  return error instanceof Error && !(error instanceof DatasoleError) && !(error instanceof TypeError)
}

/** If a host has several addresses and all fail, the error itself has no message. */
function reasonOf (error: unknown): string {
  return error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : messageOf(error)
}
