import { type AsyncApiDocument, type AsyncApiInfo, asyncApiOf } from '../contract/documents/asyncapi.js'
import type { StateBackend } from '../backend/backend.js'
import { MemoryBackend } from '../backend/memory/memory.js'
import { PostgresBackend } from '../backend/postgres/postgres.js'
import { RedisBackend } from '../backend/redis/redis.js'
import { Pool } from '../executor/main/pool.js'
import { DatasoleError } from '../protocol/errors.js'
import { CloseCode } from '../protocol/codes.js'
import type { DatasoleContract } from '../protocol/contract.js'
import { ConnectionsFacade, type NodeInfo } from './cluster/connections-facade.js'
import { Core } from './core.js'
import { CrdtFacade } from './crdts/crdt-facade.js'
import { EventsFacade, FanoutFacade } from './events/events-facade.js'
import { TransportFacade } from './connection/transport-facade.js'
import { StateFacade } from './keys/state-facade.js'
import { RateLimiterFacade } from './limits/rate-limiter-facade.js'
import { RpcFacade } from './rpc/rpc-facade.js'
import { BACKEND, EXECUTOR, RATE_LIMIT, SESSIONS } from './scope/services.js'
import { SessionsFacade } from './sessions/sessions-facade.js'
import { type HookName, type Hooks, type SchemaCompiler, Scope } from './scope/scope.js'
import { LiveFacade } from './channels/live-facade.js'
import type { Logger } from './context/logger.js'
import type { Metrics } from './metrics/metrics.js'
import type { BackendConfig, DatasoleServerOptions } from './config/server-options.js'
import { type Settings, resolveOptions } from './config/settings.js'
import { warnOfSplitBrain } from './split-brain.js'

/**
 * @internal Creates the objects of a server from its options. It does no I/O before the server starts.
 * @param schemas module that compiles schemas in worker threads, as a path for `packageFile`
 */
export function createCore (options: DatasoleServerOptions, log: Logger, compileSchema?: SchemaCompiler, schemas?: string): Core {
  const settings = resolveOptions(options)
  const core = new Core(settings, log, () => openBackend({ type: 'memory' }, log), compileSchema)
  const { root } = core
  const { rateLimit, rateLimiter, session } = settings
  const by = 'the options of datasole'
  if (options.stateBackend !== undefined || options.backendConfig !== undefined) root.provide(BACKEND, settings.stateBackend ?? openBackend(settings.backendConfig, log), by)
  if (options.rateLimit !== undefined || rateLimiter !== undefined) root.provide(RATE_LIMIT, { limits: rateLimit, limiter: rateLimiter }, by)
  if (options.session !== undefined) root.provide(SESSIONS, session, by)
  if (options.executor !== undefined) provideExecutor(core, root, settings.executor, schemas, by)
  return core
}

/** @internal Runs the worker script of an executor in a scope. */
export function provideExecutor (core: Core, scope: Scope, executor: Settings['executor'], schemas: string | undefined, by: string): void {
  scope.provide(EXECUTOR, executor, by)
  if (executor === 'no script') core.log.warn('the executor has no workerScript: every handler runs on the main thread, as with model "async"')
  if (typeof executor === 'object') core.addExecutor(new Pool(executor, core.settings, schemas), scope)
}

function openBackend ({ type, redis, postgres }: BackendConfig, log: Logger): StateBackend {
  if (type === 'redis') return new RedisBackend(redis)
  if (type === 'postgres') return new PostgresBackend(postgres)
  // the options may be a file written for one process, so warn here; an instance of MemoryBackend is a choice
  warnOfSplitBrain(log)
  return new MemoryBackend()
}

/** The type of `ds.primitives`. `S` is the server. */
export interface Primitives<C, S> {
  /** State that clients subscribe to. */
  readonly live: LiveFacade<C, S>
  /** State for server code only. */
  readonly state: StateFacade<C, S>
  /** Events from clients and from other nodes. */
  readonly events: EventsFacade<C, S>
  /** Events to clients. */
  readonly fanout: FanoutFacade<C, S>
  /** Rate limits for server code. */
  readonly rateLimiter: RateLimiterFacade<S>
  /** Values of a user that outlive connections. */
  readonly sessions: SessionsFacade<S>
  /** Values that merge concurrent changes. */
  readonly crdt: CrdtFacade<C, S>
}

/** The server, under Fastify or beside any HTTP server. `C` is the application's contract. */
export class Datasole<C extends DatasoleContract = DatasoleContract> {
  /** Methods that clients call. */
  readonly rpc: RpcFacade<C, this>
  /** State, events, messages, limits, sessions and CRDTs. */
  readonly primitives: Primitives<C, Datasole<C>>
  /** Counters of this node, and the health of its backends. */
  readonly metrics: Pick<Metrics, 'snapshot' | 'backends'>
  /** The open connections of this node. */
  readonly transport: TransportFacade<this>
  /** The connections of all nodes. */
  readonly connections: ConnectionsFacade<this>
  readonly #core: Core
  readonly #scope: Scope

  constructor (core: Core, scope: Scope = core.root) {
    this.#core = core
    this.#scope = scope
    this.metrics = core.metrics
    const { rpc, events, fanout, hub, keyspace: { live, channels, crdts, storages } } = core
    this.rpc = new RpcFacade(rpc, this, scope)
    this.transport = new TransportFacade(hub, this)
    this.connections = new ConnectionsFacade(core.cluster, this)
    this.primitives = {
      live: new LiveFacade(live, { rpc, events, fanout, channels }, this, scope),
      state: new StateFacade((from, user) => storages.of(from, user).state, this, scope),
      events: new EventsFacade(events, this, scope),
      fanout: new FanoutFacade(fanout, this, scope),
      rateLimiter: new RateLimiterFacade((from, user) => core.limitsOf(from, user), this, scope),
      sessions: new SessionsFacade((from, user) => core.sessionsOf(from, user), this, scope),
      crdt: new CrdtFacade(crdts, this, scope)
    }
  }

  /**
   * Adds a hook. Under Fastify it applies to the methods, events and keys registered in the scope of this `ds` and
   * below it. `onConnect` and `onDisconnect` apply to all connections.
   * @param name `onConnect`, `onDisconnect`, `preRpc`, `preEvent`, `preSubscribe` or `prePush`
   * @param hook may be asynchronous. It refuses by a throw
   * @throws TypeError `INVALID_ARGUMENT` for an unknown name, or a hook that is not a function
   */
  addHook<N extends HookName> (name: N, hook: Hooks<C>[N]): this {
    this.#scope.add(name, hook as Hooks[N])
    return this
  }

  /**
   * Closes every connection of a user, on every node.
   * @param userId the user
   * @param options.code close code. Default 4401, after which a client does not reconnect by itself
   * @param options.reason at most 123 bytes. Default `disconnected by the server`
   * @throws TypeError `INVALID_ARGUMENT`; DatasoleError `INVALID_CLOSE`
   */
  disconnectUser (userId: string, { code = CloseCode.AUTH_EXPIRED, reason = 'disconnected by the server' }: { code?: number, reason?: string } = {}): void {
    this.#core.disconnects.disconnectUser(userId, code, reason)
  }

  /** Lists the nodes that share the backend, this node first. It omits nodes that were silent for 15 s. */
  nodes (): NodeInfo[] {
    return this.#core.cluster.nodes().map((card, i) => ({ ...card, isSelf: i === 0 }))
  }

  /**
   * Describes the contract as an AsyncAPI 3.0 document.
   * @param info title, version and server of the application. Default none
   * @throws DatasoleError `NO_CONTRACT` if the server has no contract
   */
  asyncapi (info?: AsyncApiInfo): AsyncApiDocument {
    const { contract } = this.#core.settings
    if (contract === undefined) throw new DatasoleError('NO_CONTRACT', 'ds.asyncapi: the server has no contract; pass one as option contract')
    return asyncApiOf(contract, info)
  }

  /** @internal The `ds` of a scope below this one. */
  derive (compileSchema?: SchemaCompiler, name?: string): Datasole<C> {
    return new Datasole<C>(this.#core, new Scope(this.#scope, compileSchema, name))
  }

  /** @internal The server and the scope that plugins register with. */
  static insideOf ({ ds }: { ds: unknown }): { core: Core, scope: Scope } {
    const own = ds as Datasole
    return { core: own.#core, scope: own.#scope }
  }
}
