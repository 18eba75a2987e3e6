import { type DatasoleError } from '../../protocol/errors.js'
import { checkNames, invalidOption, positiveOption } from '../backend-options.js'

export interface QueryResult { rows: Array<Record<string, unknown>> }

export interface Query { text: string, values?: unknown[], name?: string, query_timeout?: number }

/** The part of a pool's connection that is used here. */
export interface PostgresPoolClient {
  query (query: Query): Promise<QueryResult>
  on (event: 'error', listener: (error: Error) => void): unknown
  removeListener (event: 'error', listener: (error: Error) => void): unknown
  release (error?: Error): void
}

/** The part of a `pg.Pool` that is used here. */
export interface PostgresPool {
  /** The options of its connections. */
  readonly options: object
  /** Acquires a connection. @param done gets the connection, or the error */
  connect (done: (error: Error | undefined, client: PostgresPoolClient | undefined) => void): void
  /** Adds a listener for errors of idle connections. @param event `error` @param listener gets the error */
  on (event: 'error', listener: (error: Error) => void): unknown
  /** Removes the listener. @param event `error` @param listener the same function */
  removeListener (event: 'error', listener: (error: Error) => void): unknown
  /** Closes all connections. Never called on a pool that was passed in. */
  end (): Promise<void>
}

/** The part of a `pg.Client` that is used here. */
export interface PostgresClient {
  connect (): Promise<unknown>
  query (query: Query): Promise<QueryResult>
  on (event: string, listener: (...args: never[]) => void): unknown
  end (): Promise<void>
  readonly connection: { readonly stream: { destroy (): void } }
}

/** Options of `PostgresBackend`. */
export interface PostgresBackendOptions {
  /** `postgres://user:password@host:port/database`. Default: the environment variables of Postgres (PGHOST …). */
  connectionString?: string
  /** A `pg.Pool` to use instead of `connectionString`. The backend does not close it. */
  pool?: PostgresPool
  /** Prefix of the names of tables, with or without a schema (`app.datasole`). Default `datasole`. */
  tableName?: string
  /** Prefix of every key. Default empty. */
  prefix?: string
  /** Whether tables are unlogged: faster, and empty after a crash of Postgres. Default false. */
  unlogged?: boolean
  /** Most connections for queries. One more is for notifications. Default 4. */
  poolSize?: number
  /** ms that `connect` may take. Default 5,000. */
  connectTimeoutMs?: number
  /** ms that a call waits while Postgres is unavailable. Default 10,000. */
  commandTimeoutMs?: number
  /** Most calls in progress or waiting. Further calls are refused with `BUSY`. Default 10,000. */
  maxCommands?: number
}

export interface PostgresSettings {
  tableName: string
  prefix: string
  unlogged: boolean
  poolSize: number
  connectTimeoutMs: number
  timeoutMs: number
  maxPending: number
}

/** Postgres truncates identifiers at 63 bytes, and the names of tables have suffixes. */
const TABLE_NAME = /^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,49}$/

const KNOWN = ['connectionString', 'pool', 'tableName', 'prefix', 'unlogged', 'poolSize', 'connectTimeoutMs', 'commandTimeoutMs', 'maxCommands']

/** @throws DatasoleError `INVALID_OPTION`, naming the option */
export function checkPostgresOptions (options: PostgresBackendOptions): PostgresSettings {
  const invalid = (name: string, why: string): DatasoleError => invalidOption('PostgresBackend', name, why)
  checkNames('PostgresBackend', options, KNOWN)
  const { connectionString, pool, tableName = 'datasole', prefix = '', unlogged = false, poolSize = 4, connectTimeoutMs = 5000, commandTimeoutMs = 10_000, maxCommands = 10_000 } = options
  // an error of pg would print an invalid URL, which may contain a password
  if (connectionString !== undefined && !isUrl(String(connectionString))) throw invalid('connectionString', 'must be a URL such as "postgres://user:password@127.0.0.1:5432/database"')
  if (pool !== undefined && connectionString !== undefined) throw invalid('pool', 'and connectionString exclude each other: pass only one')
  if (pool !== undefined && (typeof pool?.connect !== 'function' || typeof pool.options !== 'object')) throw invalid('pool', 'must be a pg.Pool')
  if (typeof tableName !== 'string' || !TABLE_NAME.test(tableName)) throw invalid('tableName', 'must be a lower-case identifier of up to 50 characters, such as "datasole" or "app.datasole"')
  if (typeof prefix !== 'string') throw invalid('prefix', 'must be a string')
  if (typeof unlogged !== 'boolean') throw invalid('unlogged', 'must be true or false')
  return {
    tableName,
    prefix,
    unlogged,
    poolSize: positiveOption('PostgresBackend', 'poolSize', poolSize),
    connectTimeoutMs: positiveOption('PostgresBackend', 'connectTimeoutMs', connectTimeoutMs),
    timeoutMs: positiveOption('PostgresBackend', 'commandTimeoutMs', commandTimeoutMs),
    maxPending: positiveOption('PostgresBackend', 'maxCommands', maxCommands)
  }
}

/** Whether pg accepts the URL. It may have no host. */
function isUrl (text: string): boolean {
  return /^postgres(ql)?:\/\/./.test(text) && URL.canParse(text.replace('@/', '@localhost/'))
}
