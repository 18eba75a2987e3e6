import { type DatasoleError } from '../../protocol/errors.js'
import { checkNames, invalidOption, positiveOption } from '../backend-options.js'

export interface QueryResult { rows: Array<Record<string, unknown>> }

export interface Query { text: string, values?: unknown[], name?: string, query_timeout?: number }

/** What we need of a connection of a pool. */
export interface PostgresPoolClient {
  query (query: Query): Promise<QueryResult>
  on (event: 'error', listener: (error: Error) => void): unknown
  removeListener (event: 'error', listener: (error: Error) => void): unknown
  release (error?: Error): void
}

/** What we need of a `pg.Pool`. */
export interface PostgresPool {
  readonly options: object
  connect (done: (error: Error | undefined, client: PostgresPoolClient | undefined) => void): void
  on (event: 'error', listener: (error: Error) => void): unknown
  removeListener (event: 'error', listener: (error: Error) => void): unknown
  end (): Promise<void>
}

/** What we need of a `pg.Client`. */
export interface PostgresClient {
  connect (): Promise<unknown>
  query (query: Query): Promise<QueryResult>
  on (event: string, listener: (...args: never[]) => void): unknown
  end (): Promise<void>
  readonly connection: { readonly stream: { destroy (): void } }
}

export interface PostgresBackendOptions {
  /** `postgres://user:password@host:port/database`. Default: the environment variables of Postgres (PGHOST …). */
  connectionString?: string
  /** Instead of `connectionString`: a `pg.Pool` of yours, which is used and left open. */
  pool?: PostgresPool
  /** What the tables' names begin with; may name a schema (`app.datasole`). Default `datasole`. */
  tableName?: string
  /** Put before every key. Default empty. */
  prefix?: string
  /** Tables that are not written ahead: faster, and empty after a crash of Postgres. Default false. */
  unlogged?: boolean
  /** Connections for queries; one more listens. Default 4. */
  poolSize?: number
  /** ms that `connect` may take. Default 5,000. */
  connectTimeoutMs?: number
  /** ms that a call may wait while Postgres is away. Default 10,000. */
  commandTimeoutMs?: number
  /** Calls under way or waiting; more are refused with `BUSY`. Default 10,000. */
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

/** Identifiers are cut at 63 bytes, and ours have suffixes. */
const TABLE_NAME = /^([a-z_][a-z0-9_]{0,62}\.)?[a-z_][a-z0-9_]{0,49}$/

const KNOWN = ['connectionString', 'pool', 'tableName', 'prefix', 'unlogged', 'poolSize', 'connectTimeoutMs', 'commandTimeoutMs', 'maxCommands']

/** @throws DatasoleError `INVALID_OPTION`, naming the option */
export function checkPostgresOptions (options: PostgresBackendOptions): PostgresSettings {
  const invalid = (name: string, why: string): DatasoleError => invalidOption('PostgresBackend', name, why)
  checkNames('PostgresBackend', options, KNOWN)
  const { connectionString, pool, tableName = 'datasole', prefix = '', unlogged = false, poolSize = 4, connectTimeoutMs = 5000, commandTimeoutMs = 10_000, maxCommands = 10_000 } = options
  // one that cannot be read is refused here, where it is not shown: what is in it may be a password
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

/** As pg has it: the host may be missing. */
function isUrl (text: string): boolean {
  return /^postgres(ql)?:\/\/./.test(text) && URL.canParse(text.replace('@/', '@localhost/'))
}
