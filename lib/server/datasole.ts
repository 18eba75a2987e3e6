import type { StateBackend } from '../backend/backend.js'
import { MemoryBackend } from '../backend/memory/memory.js'
import { PostgresBackend } from '../backend/postgres/postgres.js'
import { RedisBackend } from '../backend/redis/redis.js'
import { SnapshotJournal } from '../backend/snapshot-journal.js'
import { Pool } from '../executor/main/pool.js'
import { CloseCode } from '../protocol/codes.js'
import type { DatasoleContract } from '../protocol/contract.js'
import { Core } from './core.js'
import { CrdtFacade } from './crdts/crdt-facade.js'
import { EventsFacade, FanoutFacade, RateLimiterFacade, RpcFacade, SessionsFacade, StateFacade, TransportFacade } from './facades.js'
import { type HookName, type Hooks, type SchemaCompiler, Scope } from './scope/scope.js'
import { LiveFacade } from './keys/live-facade.js'
import type { Logger } from './context/logger.js'
import type { Metrics } from './metrics/metrics.js'
import type { BackendConfig, DatasoleServerOptions } from './config/server-options.js'
import { resolveOptions } from './config/settings.js'
import { warnOfSplitBrain } from './split-brain.js'

/**
 * @internal A server's object graph, from its options. No I/O happens before it starts.
 * @param schemas module that compiles schemas in worker threads, as a path for `packageFile`
 */
export function createCore (options: DatasoleServerOptions, log: Logger, compileSchema?: SchemaCompiler, schemas?: string): Core {
  const settings = resolveOptions(options)
  const backend = settings.stateBackend ?? openBackend(settings.backendConfig)
  // a type may come from a configuration file that was written for one process; an instance is meant
  if (settings.stateBackend === undefined && settings.backendConfig.type === 'memory') warnOfSplitBrain(log)
  const { commit, read, liveKeys } = backend
  const journal = commit !== undefined && read !== undefined && liveKeys !== undefined
    ? { commit: commit.bind(backend), read: read.bind(backend), liveKeys: liveKeys.bind(backend) }
    : new SnapshotJournal(backend)
  const { executor } = settings
  if (executor === 'no script') log.warn('the executor has no workerScript: every handler runs on the main thread, as with model "async"')
  const pool = typeof executor === 'object' ? new Pool(executor, settings, schemas) : undefined
  return new Core(settings, log, backend, journal, compileSchema, pool)
}

function openBackend ({ type, redis, postgres }: BackendConfig): StateBackend {
  if (type === 'redis') return new RedisBackend(redis)
  if (type === 'postgres') return new PostgresBackend(postgres)
  return new MemoryBackend()
}

/** `ds.primitives` of a server `S`. */
export interface Primitives<C, S> {
  readonly live: LiveFacade<C, S>
  readonly state: StateFacade<C, S>
  readonly events: EventsFacade<C, S>
  readonly fanout: FanoutFacade<C, S>
  readonly rateLimiter: RateLimiterFacade<S>
  readonly sessions: SessionsFacade<S>
  readonly crdt: CrdtFacade<C, S>
}

/** What `ds` is: in a route of Fastify, and beside any HTTP server. `C` is the application's contract. */
export class Datasole<C extends DatasoleContract = DatasoleContract> {
  readonly rpc: RpcFacade<C, this>
  readonly primitives: Primitives<C, Datasole<C>>
  readonly metrics: Pick<Metrics, 'snapshot'>
  readonly transport: TransportFacade<this>
  readonly #core: Core
  readonly #scope: Scope

  constructor (core: Core, scope: Scope = core.root) {
    this.#core = core
    this.#scope = scope
    this.metrics = core.metrics
    this.rpc = new RpcFacade(core, this, scope)
    this.transport = new TransportFacade(core, this)
    this.primitives = {
      live: new LiveFacade(core, this, scope),
      state: new StateFacade(core, this),
      events: new EventsFacade(core, this, scope),
      fanout: new FanoutFacade(core, this),
      rateLimiter: new RateLimiterFacade(core, this),
      sessions: new SessionsFacade(core, this),
      crdt: new CrdtFacade(core, this, scope)
    }
  }

  /**
   * Adds a hook. Under Fastify it applies to the methods, events and keys registered in the scope of
   * this `ds` and below it; `onConnect` and `onDisconnect` always apply to all connections.
   */
  addHook<N extends HookName> (name: N, hook: Hooks[N]): this {
    this.#scope.add(name, hook)
    return this
  }

  /** Closes every connection of a user, on every node. Default 4401: the client does not come back by itself. */
  disconnectUser (userId: string, { code = CloseCode.AUTH_EXPIRED, reason = 'disconnected by the server' }: { code?: number, reason?: string } = {}): void {
    this.#core.disconnectUser(userId, code, reason)
  }

  /** @internal The `ds` of a scope below this one. */
  derive (compileSchema?: SchemaCompiler): Datasole<C> {
    return new Datasole<C>(this.#core, new Scope(this.#scope, compileSchema))
  }
}
