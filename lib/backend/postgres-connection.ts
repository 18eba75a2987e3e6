import { randomUUID } from 'node:crypto'
import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { BackendLog, Unsubscribe } from './backend.js'
import { Calls } from './calls.js'
import { Channels } from './channels.js'
import { hidePassword } from './options.js'
import { PostgresListener } from './postgres-listener.js'
import type { PostgresBackendOptions, PostgresClient, PostgresPool, PostgresSettings } from './postgres-options.js'
import { HISTORY, type Statement, type Statements, createTables } from './postgres-statements.js'

export type Row = Record<string, unknown>

/** The package pg. */
export interface PostgresDriver {
  Pool: new (options: object) => unknown
  Client: new (options: object) => unknown
}

/** ms after which a query is given up and its connection closed: it may be half-open. */
const QUERY_TIMEOUT = 4000

/** ms that a graceful end may take. */
const END_TIMEOUT = 1000

/**
 * SQLSTATEs by which Postgres says that it cannot just now: connection exceptions, too many connections,
 * shutting down or starting up, read-only after a failover; and what it rolled back for others' sake.
 */
const NOT_NOW = /^(08...|53300|57P0[123]|25006|40001|40P01)$/

/** What Postgres refuses whoever asks again: credentials, databases, schemas and permissions. */
const REFUSED = /^(28...|3D000|42501|3F000)$/

/** The pool that asks and the connection that listens, from the first `connect` to the last `close`. */
export class PostgresConnection {
  readonly channels: Channels
  readonly #options: PostgresBackendOptions
  readonly #settings: PostgresSettings
  readonly #sql: Statements
  readonly #load: () => Promise<PostgresDriver>
  readonly #calls: Calls
  readonly #doubters = new Set<() => void>()
  /** What those who subscribe before there is a connection wait for. */
  readonly #connected: Promise<void>
  #onConnected = (): void => {}
  #pool: PostgresPool | undefined
  #listener: PostgresListener | undefined
  #connecting: Promise<void> | undefined
  #users = 0

  constructor (options: PostgresBackendOptions, settings: PostgresSettings, sql: Statements, load: () => Promise<PostgresDriver>) {
    this.#options = options
    this.#settings = settings
    this.#sql = sql
    this.#load = load
    this.#calls = new Calls('Postgres', settings, isFault)
    this.#connected = new Promise((resolve) => { this.#onConnected = resolve })
    this.channels = new Channels({
      open: async (name) => { await (this.#listener === undefined ? this.#connected : this.#listener.open(name)) },
      shut: (name) => { this.#listener?.shut(name) }
    })
  }

  async connect (log: BackendLog | undefined): Promise<void> {
    this.#calls.log ??= log
    this.#users++
    try {
      await (this.#connecting ??= this.#connect())
    } catch (error) {
      this.#users--
      this.#connecting = undefined
      throw error
    }
  }

  async close (): Promise<void> {
    if (--this.#users > 0) return
    this.#calls.end()
    await this.#disconnect()
  }

  onDoubt (fn: () => void): Unsubscribe {
    const own = (): void => { fn() }
    this.#doubters.add(own)
    return () => { this.#doubters.delete(own) }
  }

  /** For what may be sent again. */
  async repeat (statement: Statement, values: unknown[], onAttempt?: () => void): Promise<Row[]> {
    return await this.#calls.repeat(() => {
      onAttempt?.()
      return this.#query(statement, values)
    })
  }

  async once (statement: Statement, ...values: unknown[]): Promise<Row[]> {
    return await this.#calls.once(() => this.#query(statement, values))
  }

  async #query ({ name, text }: Statement, values: unknown[]): Promise<Row[]> {
    if (this.#pool === undefined) throw new DatasoleError('NOT_STARTED', 'PostgresBackend is not connected yet: await connect() (or ds.init()) first')
    try {
      const { rows } = await this.#pool.query({ name, text, values, query_timeout: QUERY_TIMEOUT })
      this.#calls.up('queries')
      return rows
    } catch (error) {
      if (isFault(error)) this.#calls.down('queries', error)
      throw error
    }
  }

  async #connect (): Promise<void> {
    const { connectTimeoutMs } = this.#settings
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => { reject(new Error(`no answer within connectTimeoutMs (${connectTimeoutMs} ms)`)) }, connectTimeoutMs)
    })
    try {
      await Promise.race([late, this.#open()])
      this.#onConnected()
    } catch (error) {
      await this.#disconnect()
      throw this.#startError(error)
    } finally {
      clearTimeout(timer)
    }
  }

  async #open (): Promise<void> {
    const driver = await this.#load().catch((cause: unknown) => {
      throw new DatasoleError('DRIVER_MISSING', 'PostgresBackend needs the package pg: npm install pg', { cause })
    })
    const { connectionString, pool } = this.#options
    const { poolSize, connectTimeoutMs } = this.#settings
    const own = { connectionString, max: poolSize, connectionTimeoutMillis: connectTimeoutMs, keepAlive: true }
    this.#pool = pool ?? new driver.Pool(own) as PostgresPool
    this.#pool.on('error', ignore)
    await this.#makeTables(this.#pool)
    const listener = this.#listener = new PostgresListener(this.channels, this.#calls, {
      open: () => new driver.Client(pool?.options ?? own) as PostgresClient,
      fetch: async (id) => (await this.repeat(this.#sql.fetch, [id]))[0]!.body as string,
      restored: () => { for (const fn of this.#doubters) fn() }
    })
    await listener.connect()
  }

  /** Whoever may not make tables can use those that are there. */
  async #makeTables (pool: PostgresPool): Promise<void> {
    const { tableName, unlogged } = this.#settings
    const { rows: [row] } = await pool.query({ text: 'SELECT to_regclass($1) AS last', values: [`${tableName}_buckets`] })
    if (row!.last === null) {
      // many processes may start at once
      await pool.query({ text: `SELECT pg_advisory_xact_lock(hashtext('datasole')); ${createTables(tableName, unlogged)}` })
    }
    await pool.query({ ...this.#sql.makeHistory, values: [HISTORY, randomUUID()] })
  }

  async #disconnect (): Promise<void> {
    const [pool, listener] = [this.#pool, this.#listener]
    this.#pool = this.#listener = undefined
    await listener?.close()
    pool?.removeListener('error', ignore)
    if (pool === undefined || pool === this.#options.pool) return
    pool.on('error', ignore)
    // what is under way is answered first, if that does not take long
    let timer: NodeJS.Timeout | undefined
    await Promise.race([pool.end(), new Promise((resolve) => { timer = setTimeout(resolve, END_TIMEOUT) })])
    clearTimeout(timer)
  }

  #startError (thrown: unknown): DatasoleError {
    if (thrown instanceof DatasoleError) return thrown
    const { connectionString, pool } = this.#options
    const option = pool !== undefined ? 'pool' : `connectionString (${connectionString === undefined ? 'not given; PGHOST and others apply' : hidePassword(connectionString)})`
    const isRefused = REFUSED.test(String((thrown as { code?: unknown }).code))
    return new DatasoleError(isRefused ? 'BACKEND_REFUSED' : 'BACKEND_UNAVAILABLE', `PostgresBackend: option ${option}: ${reasonOf(thrown)}`, { cause: thrown })
  }
}

/** What an idle connection of a pool says when it ends; the next query gets another. */
function ignore (): void {}

/** Whether the store is away, and not of another opinion. */
function isFault (error: unknown): boolean {
  const { code, severity } = error as { code?: string, severity?: string }
  if (severity !== undefined) return NOT_NOW.test(String(code))
  return error instanceof Error && !(error instanceof DatasoleError) && !(error instanceof TypeError)
}

/** An error for each address that was tried comes as one without a message. */
function reasonOf (error: unknown): string {
  return error instanceof AggregateError ? error.errors.map(messageOf).join(', ') : messageOf(error)
}
