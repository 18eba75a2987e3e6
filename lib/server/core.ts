import type { Duplex } from 'node:stream'
import type { StateBackend } from '../backend/backend.js'
import { CloseCode } from '../protocol/codes.js'
import { DatasoleError } from '../protocol/errors.js'
import { ConnectHooks } from './auth/connect-hooks.js'
import { Disconnects } from './auth/disconnects.js'
import { PendingUpgrades } from './auth/pending-upgrades.js'
import { Slots } from './auth/slots.js'
import { type AuthExpiry, TokenRefresh } from './auth/token-refresh.js'
import type { BusHandlers } from './bus/bus.js'
import { Cluster } from './cluster/cluster.js'
import { answerOf } from './cluster/connections-facade.js'
import { OwnedPaths } from './config/owned-paths.js'
import type { RateLimiter } from './config/server-options.js'
import type { Settings } from './config/settings.js'
import { ContractChecks } from './contract/contract-checks.js'
import { Connection } from './connection/connection.js'
import type { ConnectionHost } from './connection/connection-host.js'
import type { ServerSocket } from './connection/server-socket.js'
import { SocketListeners } from './connection/socket-listeners.js'
import { welcomeOf } from './connection/welcome.js'
import { closeInWaves } from './lifecycle/waves.js'
import { Flusher } from './connection/flusher.js'
import { Heartbeat } from './connection/heartbeat.js'
import { Hub } from './connection/hub.js'
import type { ConnectionContext } from './context/connection-context.js'
import type { Logger } from './context/logger.js'
import { RepeatLog } from './context/repeat-log.js'
import { Dispatch, afterFrames } from './dispatch.js'
import { Events } from './events/events.js'
import { Fanout } from './events/fanout.js'
import { Keyspace } from './keyspace.js'
import type { Part } from './lifecycle/part.js'
import { until } from './lifecycle/until.js'
import type { FrameLimiter } from './limits/frame-limiter.js'
import { LimiterConnection } from './limits/limiter-connection.js'
import { Limits } from './limits/limits.js'
import type { Metrics } from './metrics/metrics.js'
import { RpcRegistry } from './rpc/rpc.js'
import { Scope, type SchemaCompiler } from './scope/scope.js'
import { BACKEND, RATE_LIMIT, SESSIONS } from './scope/services.js'
import { serverMetrics } from './server-metrics.js'
import { Sessions } from './sessions/sessions.js'
import type { Executor } from '../executor/executor.js'
import { Workers } from './workers/workers.js'

/** Least time (ms) that close frames and disconnect hooks get, even if calls have used up `closeTimeoutMs`. */
const GRACE = 500

/**
 * The server apart from its HTTP layer: it creates the parts and passes every connection to them. The owner of the
 * HTTP server starts it, gives it sockets and stops it.
 */
export class Core implements ConnectionHost {
  readonly hub = new Hub()
  readonly repeats: RepeatLog
  readonly flusher = new Flusher()
  readonly metrics: Metrics
  readonly root: Scope
  readonly contract: ContractChecks
  readonly keyspace: Keyspace
  readonly rpc: RpcRegistry
  readonly events: Events
  readonly fanout: Fanout
  readonly tokens: TokenRefresh
  readonly pendingUpgrades = new PendingUpgrades()
  readonly connectHooks: ConnectHooks
  readonly slots: Slots
  readonly disconnects: Disconnects
  readonly cluster: Cluster
  readonly workers: Workers[] = []
  /** True once the server refuses new connections. */
  isDraining = false
  /** Paths that plugins serve, besides the server's own. */
  readonly routes = new OwnedPaths()
  /** Paths at which plugins accept WebSockets. */
  readonly socketRoutes = new Set<string>()
  readonly #limits = new Map<Scope, Limits>()
  /** By scope. A cache, because every frame needs its limiter. */
  readonly #frameLimiters = new Map<Scope, FrameLimiter>()
  readonly #limiters = new Map<RateLimiter, LimiterConnection>()
  readonly #sessions = new Map<Scope, Sessions>()
  readonly #features: Part[]
  readonly #dispatch: Dispatch
  readonly #listeners: SocketListeners
  #parts: Part[] | undefined
  #starting: Promise<void> | undefined
  #announced: Promise<unknown> | undefined

  constructor (readonly settings: Settings, readonly log: Logger, defaultBackend: () => StateBackend, compileSchema?: SchemaCompiler) {
    this.metrics = serverMetrics(this.hub, this.flusher, this.workers, () => this.keyspace)
    this.repeats = new RepeatLog(log)
    this.root = new Scope(undefined, compileSchema)
    this.contract = new ContractChecks(settings.contract, this.root)
    this.keyspace = new Keyspace(settings, this.root, defaultBackend, () => this.hub.joining, this.contract, this.metrics, log)
    const { storages } = this.keyspace
    const busOf = (scope: Scope): ReturnType<typeof storages.of>['bus'] => storages.of(scope, 'an event').bus
    this.events = new Events(settings, busOf, this.contract, this.metrics, log)
    this.fanout = new Fanout(this.hub, busOf, () => Array.from(storages, ({ bus }) => bus), () => this.cluster.hasTopics, this.contract, settings, this.metrics)
    this.rpc = new RpcRegistry(settings, this.hub, this.contract, this.metrics, log)
    this.tokens = new TokenRefresh(settings, log)
    this.disconnects = new Disconnects(this.hub, this.pendingUpgrades, () => storages.root.bus)
    this.cluster = new Cluster(() => storages.root.bus, (question) => answerOf(this.hub, this.pendingUpgrades, question), this.hub.topic)
    this.connectHooks = new ConnectHooks(settings, this.root, this.hub, log, this.repeats)
    this.slots = new Slots(settings, this.connectHooks)
    const heartbeat = new Heartbeat(this.hub, settings.heartbeatMs)
    this.#features = [this.metrics, this.repeats, this.contract, this.keyspace, this.tokens, this.events, this.fanout, this.rpc, this.disconnects, this.cluster, heartbeat]
    // one object, so that the compiler checks that every opcode has a handler
    const frames = { ...this.keyspace.frames, ...this.tokens.frames, ...this.events.frames, ...this.rpc.frames, ...heartbeat.frames }
    this.#dispatch = new Dispatch(frames, (scope) => this.#limiterOf(scope ?? this.root), settings, this.metrics, log)
    this.#listeners = new SocketListeners(this, (connection, data, isBinary) => { this.#dispatch.receive(connection, data, isBinary) }, (connection, code) => { afterFrames(connection, () => { this.#ended(connection, code) }) })
  }

  /** All parts, in start order. A part may use those that start before it. */
  get parts (): readonly Part[] {
    return (this.#parts ??= this.#listParts())
  }

  #listParts (): Part[] {
    const { storages } = this.keyspace
    const messages: Partial<BusHandlers> = Object.assign({}, ...this.#features.map((part) => part.messages))
    const backends = Array.from(storages, (storage): Part => ({
      start: async () => { await storage.connect(); await storage.join(messages) },
      stop: () => storage.close()
    }))
    return [...backends, ...this.#limiters.values(), ...this.#limits.values(), ...this.#sessions.values(), ...this.#features, ...this.workers, this.connectHooks]
  }

  /** The rate limits of a scope. The nearest scope with a backend or a rate limit of its own provides them. */
  limitsOf (scope: Scope, user: string): Limits {
    return this.#nearest(this.#limits, scope.ownerOf([BACKEND, RATE_LIMIT], user), (owner) => {
      const { limits, limiter } = owner.provided(RATE_LIMIT) ?? { limits: this.settings.rateLimit, limiter: undefined }
      const namespace = owner === this.root ? '' : `\n${owner.ordinal}\n`
      return new Limits(limits, limiter && this.#limiterConnection(limiter), this.keyspace.storages.of(owner, user), namespace, this.metrics, this.log)
    })
  }

  #limiterConnection (limiter: RateLimiter): LimiterConnection {
    let connection = this.#limiters.get(limiter)
    if (connection === undefined) {
      this.#limiters.set(limiter, connection = new LimiterConnection(limiter))
      if (this.#announced !== undefined) connection.announce(this.#announced)
      this.#parts = undefined
    }
    return connection
  }

  #limiterOf (scope: Scope): FrameLimiter {
    let limiter = this.#frameLimiters.get(scope)
    if (limiter === undefined) this.#frameLimiters.set(scope, limiter = this.limitsOf(scope, 'a frame').frameLimiter)
    return limiter
  }

  /** The sessions of a scope. The nearest scope with a backend or session options of its own provides them. */
  sessionsOf (scope: Scope, user: string): Sessions {
    return this.#nearest(this.#sessions, scope.ownerOf([BACKEND, SESSIONS], user), (owner) => {
      const options = owner.provided(SESSIONS) ?? this.settings.session
      const storage = this.keyspace.storages.of(owner, user)
      // several scopes may keep their sessions in one backend
      const prefix = this.keyspace.storages.isOwn(owner) ? 'session:' : `session-${owner.ordinal}:`
      return new Sessions((own) => storage.openSessions(prefix, own, options.ttlMs), () => storage.isUsable, this.hub, options, this.settings.maxJsonDepth, this.log)
    })
  }

  /** Runs the methods and event handlers of an executor's worker script in a scope. */
  addExecutor (executor: Executor, scope: Scope): void {
    const { keys, live, storages } = this.keyspace
    const host = {
      scope,
      metrics: this.metrics,
      crdts: this.keyspace.crdts,
      storeOf: (key: string, isLive: boolean) => isLive ? live.storeFor(key, scope, 'live') : keys.has(key) ? live.storeOf(key) : storages.of(scope, 'state').state,
      sessions: () => this.sessionsOf(scope, 'sessions'),
      emit: (event: string, data: unknown) => { this.events.emit(event, data, scope) },
      broadcast: (event: string, data: unknown, target?: object) => { this.fanout.broadcast(event, data, target, scope) }
    }
    this.rpc.lacksWorkers = true
    this.workers.push(new Workers(executor, scope, host, this.rpc, this.events, this.settings, this.log))
  }

  /** Makes calls wait for `starting`, a promise that settles once `start` has run. */
  announce (starting: Promise<unknown>): void {
    this.#announced = starting
    this.keyspace.storages.announce(starting)
    for (const limiter of this.#limiters.values()) limiter.announce(starting)
  }

  /**
   * Connects the backends and the rate limiter that are configured so far, so that they can be used before `start`.
   * May be called again. If one fails, all are closed.
   */
  async connect (): Promise<void> {
    const { storages } = this.keyspace
    try {
      for (const scope of this.root.providers(BACKEND)) await storages.of(scope, 'the server').connect()
      if (this.settings.rateLimiter !== undefined) await this.#limiterConnection(this.settings.rateLimiter).start()
    } catch (error) {
      for (const limiter of this.#limiters.values()) await limiter.stop()
      for (const storage of storages) await storage.close()
      throw error
    }
  }

  /**
   * Gives a scope its own backend and connects it. The server closes it. If it does not connect, the server stops,
   * because Fastify does not start after an error.
   * @param plugin the plugin that provides the backend, for errors
   * @throws DatasoleError `DUPLICATE_REGISTRATION`, `TOO_LATE`; as `connect` does
   */
  async provideBackend (scope: Scope, backend: StateBackend, plugin: string): Promise<void> {
    this.checkNotStarted(scope, plugin)
    scope.provide(BACKEND, backend, plugin)
    await this.#orStop(this.keyspace.storages.of(scope, plugin).connect())
  }

  /** @throws DatasoleError `TOO_LATE` */
  checkNotStarted (scope: Scope, plugin: string): void {
    if (this.#starting !== undefined) throw new DatasoleError('TOO_LATE', `${plugin} is registered too late in the scope "${scope.name}": the server has started`)
  }

  /** Connects the backends and joins the other nodes. May be called again. If a part fails, all parts stop. */
  start (): Promise<void> {
    return (this.#starting ??= this.#orStop(this.#start()))
  }

  async #orStop (step: Promise<void>): Promise<void> {
    try {
      await step
    } catch (error) {
      await this.stop().catch((failure: unknown) => { this.log.error({ err: failure }, 'the server could not stop cleanly after a failed start') })
      throw error
    }
  }

  async #start (): Promise<void> {
    // the root has its parts on every server, whether they are used or not
    for (const scope of [this.root, ...[BACKEND, RATE_LIMIT, SESSIONS].flatMap((service) => this.root.providers(service))]) {
      this.keyspace.storages.of(scope, 'the server')
      this.limitsOf(scope, 'the server')
      this.sessionsOf(scope, 'the server')
    }
    this.#parts = undefined
    for (const part of this.parts) await part.start?.()
    this.rpc.lacksWorkers = false
  }

  /**
   * Makes a connection of an authenticated socket. Every transport enters here, after the `onConnect` hooks have run.
   * @param raw the stream below the socket
   * @param expiry of the authentication; undefined if it has none
   */
  accept (socket: ServerSocket, raw: Duplex, context: ConnectionContext, expiry?: AuthExpiry): Connection {
    const connection = new Connection(this, socket, raw, context)
    this.#listeners.listen(socket, connection)
    this.hub.add(connection)
    if (context.protocol !== 1) connection.send(welcomeOf(connection, this.settings))
    this.tokens.grant(connection, expiry)
    for (const part of this.parts) part.connected?.(connection)
    return connection
  }

  /** Refuses new connections, closes open ones in waves, finishes calls, closes the rest, and runs disconnect hooks. */
  async drain (): Promise<void> {
    this.isDraining = true
    await closeInWaves(this.hub, this.settings.drainMs, this.settings.closeTimeoutMs)
    const deadline = performance.now() + this.settings.closeTimeoutMs
    const withGrace = (): number => Math.max(deadline, performance.now() + GRACE)
    const parts = this.parts.toReversed()
    for (const part of parts) await part.quiesce?.(deadline)
    for (const connection of this.hub) connection.close(CloseCode.GOING_AWAY, 'server going away')
    await until(withGrace(), () => this.hub.size === 0)
    for (const connection of this.hub) connection.terminate()
    // otherwise other nodes would give the handlers work without end
    for (const storage of this.keyspace.storages) storage.bus.close()
    for (const part of parts) await part.drain?.(withGrace())
  }

  /** Releases everything that `start` acquired, even if `start` failed. */
  async stop (): Promise<void> {
    this.#parts = undefined
    const failures: unknown[] = [] // if one part fails, the others must still stop
    for (const part of this.parts.toReversed()) await Promise.resolve(part.stop?.()).catch((error: unknown) => { failures.push(error) })
    if (failures.length > 0) throw failures[0]
  }

  #ended (connection: Connection, code: number): void {
    connection.ended()
    this.hub.remove(connection)
    for (const part of this.parts) part.disconnected?.(connection, code)
  }

  #nearest<T> (made: Map<Scope, T>, owner: Scope, make: (owner: Scope) => T): T {
    let one = made.get(owner)
    if (one === undefined) {
      made.set(owner, one = make(owner))
      this.#parts = undefined
    }
    return one
  }
}
