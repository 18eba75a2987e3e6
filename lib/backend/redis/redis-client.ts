import type { DatasoleError } from '../../protocol/errors.js'
import { checkNames, invalidOption, positiveOption } from '../backend-options.js'
import { isReadOnly } from '../redis-replies.js'

/** The part of an ioredis client that is used here. A Cluster client has it, too. */
export interface RedisClient {
  readonly isCluster?: boolean
  /** In a Cluster: the master of each slot, then its replicas, as `host:port`. */
  readonly slots?: string[][]
  readonly status: string
  connect (): Promise<void>
  disconnect (reconnect?: boolean): void
  quit (): Promise<unknown>
  duplicate (...args: unknown[]): unknown
  on (event: string, listener: (...args: never[]) => void): unknown
  call (command: string, ...args: Array<string | number>): Promise<unknown>
}

/** A Redis, Cluster or Sentinel client of ioredis. It is a template: its own connection is never used. */
export interface RedisInstance {
  /** Creates a client with the same options. @param args options that differ */
  duplicate (...args: never[]): unknown
  /** The options of the client. */
  readonly options: object
}

/** Options of ioredis. */
export interface RedisConnectionOptions {
  /** Default `localhost`. */
  host?: string
  /** Default 6379. */
  port?: number
  /** The user of the ACL. Default: the user `default`. */
  username?: string
  /** Default none. */
  password?: string
  /** Number of the database. Default 0. */
  db?: number
  /** Options of `tls.connect`; an empty object is enough for TLS. Default: no TLS. */
  tls?: object
  /** Addresses of Sentinels, with `name`. Default none. */
  sentinels?: Array<{ host?: string, port?: number }>
  /** Name of the Sentinel group. */
  name?: string
  [option: string]: unknown
}

/** Options of `RedisBackend`. */
export interface RedisBackendOptions {
  /** `redis://` or `rediss://` (TLS), with user, password and database. Default `redis://127.0.0.1:6379`. */
  url?: string
  /** Prefix of every key and channel, without braces. Default `ds:`. */
  keyPrefix?: string
  /** Another name of `keyPrefix`. */
  prefix?: string
  /** Instead of `url`: options of ioredis, or an instance as a template (Sentinel, Cluster, TLS). */
  redis?: RedisInstance | RedisConnectionOptions
  /** ms that `connect` may take. Default 5,000. */
  connectTimeoutMs?: number
  /** ms that a call waits while Redis is unavailable. Default 10,000. */
  commandTimeoutMs?: number
  /** Most calls in progress or waiting. Further calls are refused with `BUSY`. Default 10,000. */
  maxCommands?: number
}

/** ms without an answer after which a connection is taken for half-open, and is replaced. */
const SOCKET_TIMEOUT = 2500

/** Longest delay (ms) between attempts to reconnect. */
const LONGEST_RECONNECT = 2000

/** ms between attempts to reach a lost Sentinel. Long, because ioredis prints each failure. */
const SENTINEL_RECONNECT = 10_000

/** The part of the package ioredis that is used here. */
export interface Ioredis {
  Redis: new (...args: unknown[]) => unknown
}

/**
 * Creates a client. It neither queues nor repeats commands: the retry policy decides that for each call.
 * @param connectTimeout ms for one attempt
 */
export function openClient ({ Redis }: Ioredis, { url, redis }: RedisBackendOptions, connectTimeout: number): RedisClient {
  const wait = (attempt: number): number => Math.random() * Math.min(LONGEST_RECONNECT, 50 * 2 ** attempt)
  const options = {
    lazyConnect: true,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    autoResubscribe: false,
    // 0: commands in flight fail when the connection is lost; otherwise they would never settle
    maxRetriesPerRequest: 0,
    connectTimeout,
    commandTimeout: undefined,
    socketTimeout: SOCKET_TIMEOUT,
    retryStrategy: wait,
    // an old master still accepts writes, which are lost, so leave it at once
    failoverDetector: true,
    sentinelReconnectStrategy: () => SENTINEL_RECONNECT,
    // a READONLY error means that the master has become a replica
    reconnectOnError: ({ message }: Error) => isReadOnly(message)
  }
  if (redis === undefined) return new Redis(url ?? 'redis://127.0.0.1:6379', options) as RedisClient
  if (!isInstance(redis)) return new Redis({ ...redis, ...options }) as RedisClient
  const template = redis as unknown as RedisClient
  if (template.isCluster !== true) return template.duplicate(options) as RedisClient
  const { retryStrategy, enableOfflineQueue, ...redisOptions } = options
  const given = (redis.options as { redisOptions?: object }).redisOptions
  return template.duplicate([], {
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: wait,
    // a replica may lack acknowledged commits
    scaleReads: 'master',
    shardedSubscribers: true,
    redisOptions: { ...given, ...redisOptions, enableOfflineQueue: true }
  }) as RedisClient
}

function isInstance (redis: RedisInstance | RedisConnectionOptions): redis is RedisInstance {
  return typeof redis.duplicate === 'function'
}

/** The number of the database, from the URL's path or its `db`, or from the options. A Cluster has only database 0. */
function databaseOf ({ url, redis = {} }: RedisBackendOptions): number {
  if (url !== undefined) {
    const { pathname, searchParams } = new URL(url)
    return Number(pathname.length > 1 ? pathname.slice(1) : searchParams.get('db') ?? 0)
  }
  const { db, redisOptions } = (isInstance(redis) ? redis.options : redis) as { db?: number | string, redisOptions?: object }
  return redisOptions === undefined ? Number(db ?? 0) : 0
}

export interface RedisSettings { prefix: string, database: number, connectTimeoutMs: number, timeoutMs: number, maxPending: number }

/** @throws DatasoleError `INVALID_OPTION`, naming the option */
export function checkRedisOptions (options: RedisBackendOptions): RedisSettings {
  const invalid = (name: string, why: string): DatasoleError => invalidOption('RedisBackend', name, why)
  checkNames('RedisBackend', options, ['url', 'keyPrefix', 'prefix', 'redis', 'connectTimeoutMs', 'commandTimeoutMs', 'maxCommands'])
  const { url, keyPrefix, prefix, redis, connectTimeoutMs = 5000, commandTimeoutMs = 10_000, maxCommands = 10_000 } = options
  if (url !== undefined && !/^rediss?:\/\/./.test(String(url))) throw invalid('url', 'must be a URL such as "redis://127.0.0.1:6379", or "rediss://…" for TLS')
  if (url !== undefined && redis !== undefined) throw invalid('redis', 'and url exclude each other: pass only one')
  if (redis !== undefined && (typeof redis !== 'object' || redis === null)) throw invalid('redis', 'must be an instance or options of ioredis')
  const given = redis === undefined ? {} : (isInstance(redis) ? redis.options : redis) as { keyPrefix?: string }
  if (given.keyPrefix) throw invalid('redis.keyPrefix', 'does not apply to pub/sub channels: use the keyPrefix of RedisBackend instead')
  if (keyPrefix !== undefined && prefix !== undefined && keyPrefix !== prefix) throw invalid('prefix', 'is another name of keyPrefix: pass only one')
  const chosen = keyPrefix ?? prefix ?? 'ds:'
  if (typeof chosen !== 'string' || /[{}]/.test(chosen)) throw invalid('keyPrefix', 'must be a string without braces: Redis Cluster reads them as hash tags')
  return {
    prefix: chosen,
    database: databaseOf(options),
    connectTimeoutMs: positiveOption('RedisBackend', 'connectTimeoutMs', connectTimeoutMs),
    timeoutMs: positiveOption('RedisBackend', 'commandTimeoutMs', commandTimeoutMs),
    maxPending: positiveOption('RedisBackend', 'maxCommands', maxCommands)
  }
}
