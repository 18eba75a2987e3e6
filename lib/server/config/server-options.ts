import type { Contract } from '../../contract/define-contract.js'
import type { IncomingMessage } from 'node:http'
import type { StateBackend } from '../../backend/backend.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import type { AuthResult, ConnectionContext } from '../context/connection-context.js'
import type { Logger } from '../context/logger.js'

/**
 * Authenticates the request of an upgrade. `authenticated: false`, or an `expiresAt` in the past, is HTTP 401. A throw
 * is HTTP 500, and is logged. It runs again for each new token, with the request of the upgrade and that token.
 * @param req the request; `getToken(req)` reads its token
 * @param request Fastify's request, of type `Request`. A `DatasoleServer` passes that of its private Fastify, if the
 *   function has two plain parameters (its `length` is 2). Undefined for a new token, because the request has ended
 */
export type AuthHandlerFn<Request = never> = (req: IncomingMessage, request?: Request) => AuthResult | Promise<AuthResult>

/** The place of an error. */
export interface ErrorContext {
  /** The code that threw: a method's handler, a hook, or the `validate` of a channel. */
  readonly source: 'rpc' | 'onConnect' | 'preRpc' | 'preEvent' | 'preSubscribe' | 'prePush' | 'validate'
  /** An id, for the log and for a client that does not get the error itself. */
  readonly id: string
  /** The method, for `rpc` and `preRpc`. */
  readonly method?: string
  /** The event, for `preEvent`. */
  readonly event?: string
  /** The key, for `preSubscribe`, `prePush` and `validate`. */
  readonly key?: string
  /** The connection that the handler or hook worked for. */
  readonly connection: ConnectionContext
}

/**
 * Gets the errors of handlers and hooks, on the main thread, and may return an error that replaces the original. If it
 * returns none, the rules of docs/errors.md apply. Synchronous.
 */
export type ErrorHandler = (error: unknown, ctx: ErrorContext) => Error | undefined | void

/** A backend by name, for configuration files: the options of its class, under its name. */
export interface BackendConfig {
  /** The kind of the backend. */
  type: 'memory' | 'redis' | 'postgres'
  /** See RedisBackendOptions. */
  redis?: { url?: string, keyPrefix?: string, prefix?: string, connectTimeoutMs?: number, commandTimeoutMs?: number, maxCommands?: number }
  /** See PostgresBackendOptions. */
  postgres?: { connectionString?: string, tableName?: string, prefix?: string, unlogged?: boolean, connectTimeoutMs?: number, commandTimeoutMs?: number, maxCommands?: number }
}

/** Limits on the frames of clients: the option `rateLimit`. */
export interface RateLimitConfig {
  /** Default `{ windowMs: 60_000, maxRequests: 100 }`, per connection. */
  defaultRule?: RateLimitRule
  /** Rules by name of RPC method or event, each with its own bucket; `$subscribe` is the rule for subscriptions. */
  rules?: Record<string, RateLimitRule>
  /**
   * Returns the name of the bucket that counts a frame. Default: the connection's own bucket. Each name has a bucket
   * per rule, so the user is enough: `(connectionId, _method, { userId }) => userId ?? connectionId`. `method` is
   * undefined for unregistered names, so that invented names do not get buckets.
   */
  keyExtractor?: (connectionId: string, method: string | undefined, connection: ConnectionContext) => string
  /**
   * The policy while a backend (or a `rateLimiter`) that shares the limit fails. `local`: each node counts for itself
   * (default). `allow`: every frame passes. `deny`: none does. Limits in memory cannot fail.
   */
  onBackendError?: 'local' | 'allow' | 'deny'
  /** ms that a shared decision may take before it counts as failed. Default 1,000. */
  timeoutMs?: number
}

/**
 * A custom limiter for every frame that counts. It has to use keys as they are. It may return a result directly or as a
 * promise. If a call rejects, or takes longer than `rateLimit.timeoutMs`, `rateLimit.onBackendError` decides.
 */
export interface RateLimiter {
  /**
   * Tests whether a cost of 1 would be admitted. It counts nothing.
   * @param key the bucket
   * @param rule `windowMs` (ms) and `maxRequests`
   */
  check (key: string, rule: RateLimitRule): RateLimitResult | Promise<RateLimitResult>
  /**
   * Counts a cost if it is admitted.
   * @param key the bucket
   * @param rule `windowMs` (ms) and `maxRequests`
   * @param cost a whole number from 0; default 1
   */
  consume (key: string, rule: RateLimitRule, cost?: number): RateLimitResult | Promise<RateLimitResult>
  /** Empties a bucket. @param key the bucket */
  reset (key: string): void | Promise<void>
  /** Awaited by `init()`. If it was called, `close` is called when the server closes. */
  connect? (): Promise<void>
  /** Called when the server closes, if `connect` was called. */
  close? (): Promise<void>
}

/** The threads in which handlers run: see docs/executors.md. A model ignores limits that it does not use. */
export interface ExecutorOptions {
  /**
   * `async`: on the event loop. `thread-pool`: connections share `poolSize` threads. `thread`: each connection has its
   * own, up to `maxThreads`.
   */
  model: 'async' | 'thread' | 'thread-pool'
  /** Threads of model `thread-pool`. Default `os.availableParallelism()`; each starts when it is first needed. */
  poolSize?: number
  /** Threads of model `thread`. Default 256. */
  maxThreads?: number
  /**
   * An ES module (path from the working directory, or file URL) that registers the methods and events of the threads.
   * Its default export is `(ds: WorkerDatasole) => {}`, and may be async. Default: everything runs on the main thread.
   */
  workerScript?: string | URL
  /** ms after which an idle thread ends, or in model `thread` a quiet connection frees its thread. Default 30,000. */
  idleTimeout?: number
  /** MiB of a thread's old generation; beyond it the thread is lost. Default: the default of V8. */
  maxOldGenerationSizeMb?: number
  /** Options of Node.js for threads, such as a loader for TypeScript. Default: those of the process. */
  execArgv?: string[]
  /** Calls and events per thread, waiting or running. Default 10,000; then `BUSY`. */
  maxQueue?: number
  /** Calls and events per connection, waiting or running. Default 100; then `BUSY`. */
  maxQueuePerConnection?: number
  /** ms that a connection's calls and events wait for a free thread in model `thread`. Default 5,000; then `BUSY`. */
  queueTimeoutMs?: number
  /** ms that a thread's event loop may be blocked after a call's timeout. Default 5,000; then the thread is lost. */
  stuckTimeoutMs?: number
}

/** The option `session`: when changes are written to the backend, and how long a session is kept. */
export interface SessionOptions {
  /** Changes after which a session is written to the backend. Default 10. */
  flushThreshold?: number
  /** ms after the first unwritten change until a session is written. Default 5,000. */
  flushIntervalMs?: number
  /** ms that a session is kept after the last write or restore. Default: for ever. */
  ttlMs?: number
  /** Whether `sessions.onChange` can be used. Default false. */
  enableChangeStream?: boolean
}

/** The options of a server. Each has a default. An unknown name or a wrong value throws, naming the option. */
export interface DatasoleServerOptions<Request = never> {
  /** Path of the WebSocket endpoint and of the client bundles. Default `/__ds`. */
  path?: string
  /** The schemas of all messages: see `defineContract`. Default: only those of `rpc.register` and channels. */
  contract?: Contract<unknown>
  /** HTTP path that serves the contract as an AsyncAPI document. Default: none. */
  asyncapiPath?: string
  /**
   * Authenticates the upgrade. It gets the request, whose token `getToken(req)` reads, and resolves to an `AuthResult`:
   * `authenticated: false` is HTTP 401, a throw HTTP 500. It runs again for each new token. Default: everyone may
   * connect, with the remote address as `userId`.
   */
  authHandler?: AuthHandlerFn<Request>
  /**
   * The store of state, messages, limits and sessions. Not together with `backendConfig`. Default
   * `new MemoryBackend()`, with a warning in a cluster worker.
   */
  stateBackend?: StateBackend
  /** A backend by name, in place of `stateBackend`. The options of the other backends are ignored. Default none. */
  backendConfig?: BackendConfig
  /** A limiter of your own for frames. Default `new DefaultRateLimiter(stateBackend)`. */
  rateLimiter?: RateLimiter
  /** The threads of handlers. Default `{ model: 'async' }`. The thread models need the package piscina. */
  executor?: Partial<ExecutorOptions>
  /** Most frames of a client in a sliding window; `false` for no limit. Default 100 per minute and connection. */
  rateLimit?: RateLimitConfig | false
  /** When changes of sessions are written to the backend, and how long sessions are kept. */
  session?: SessionOptions
  /** Connections of this process. Default 10,000; then HTTP 503, before authentication. */
  maxConnections?: number
  /** Connections of one remote address. Default unlimited; then HTTP 503. */
  maxConnectionsPerAddress?: number
  /** CRDT keys, of server code and of clients together. Default 1,000; then LIMIT_EXCEEDED. */
  maxCrdtKeys?: number
  /** Most characters of an event name. Default 256; events with longer names are dropped and counted. */
  maxEventNameLength?: number
  /**
   * Origins that browsers may connect from, such as `https://example.com`, `null` or `capacitor://localhost`. Others
   * get HTTP 403. Requests without Origin pass. Default: the host that the request names. Loopback names match each
   * other on any port.
   */
  allowedOrigins?: string[] | ((origin: string, req: IncomingMessage) => boolean)
  /**
   * Proxies whose X-Forwarded-For and X-Forwarded-Host count, like Fastify's option of this name. Under Fastify,
   * Fastify's option counts instead. Default false: none.
   */
  trustProxy?: boolean | string | string[] | ((address: string, hop: number) => boolean)
  /** ms for the auth handler, and again for all `onConnect` hooks together. Default 10,000; then HTTP 500. */
  authTimeoutMs?: number
  /** ms between heartbeats. Default 25,000; a connection silent for two of them is closed with 4408. */
  heartbeatMs?: number
  /** Bytes of payload in a received frame, as on the wire. Default 1 MiB; then close code 1009. */
  maxPayload?: number
  /** Bytes that a received frame may inflate to. Default 16 MiB; then PAYLOAD_TOO_LARGE. */
  maxInflatedSize?: number
  /** Levels of nesting in any JSON. Default 128; then BAD_FRAME, or a RangeError from a commit. */
  maxJsonDepth?: number
  /** ms that a call may take. Default 30,000; 0 for no limit. */
  rpcTimeoutMs?: number
  /** Bytes of JSON that a state value may have. Default 16 MiB; then a RangeError. */
  maxStateBytes?: number
  /** Unsent bytes above which a connection's state updates are conflated. Default 256 KiB. */
  highWaterMark?: number
  /** Unsent bytes above which a connection is closed with 4413. Default 4 MiB; one frame alone may be larger. */
  maxBufferedBytes?: number
  /** Calls in flight per connection. Default 100; then BUSY. */
  maxCallsInFlight?: number
  /** Subscriptions per connection. Default 1,000; then LIMIT_EXCEEDED. */
  maxSubscriptions?: number
  /** Tags per connection. Default 1,000; then `tags.add` throws LIMIT_EXCEEDED. */
  maxTags?: number
  /** Bad frames per connection. Default 10; then it is closed with 1002 (1003 for text). */
  maxBadFrames?: number
  /** Sends frames over `threshold` bytes (default 1024) deflated, if that is smaller; `false` to deflate none. */
  compression?: { threshold?: number } | false
  /** ms that `close()` waits for calls and clients. Default 5,000. */
  closeTimeoutMs?: number
  /**
   * ms over which `close()` closes connections in waves, and accepts no new ones. Use it for rolling deploys, so that
   * clients spread over the other servers. Default 0: all at once.
   */
  drainMs?: number
  /**
   * Gets the errors of methods, hooks and `validate`, and may return an error that replaces the original. By default,
   * errors that are not meant for clients are logged, and clients get -32603 or `INTERNAL` with an id.
   */
  errorHandler?: ErrorHandler
  /** The server's log. Default: the Fastify instance's logger, or pino at level `warn`. */
  logger?: Logger
}
