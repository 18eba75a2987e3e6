import type { Duplex } from 'node:stream'
import { setTimeout } from 'node:timers/promises'
import type { Journal, StateBackend } from '../backend/backend.js'
import type { Executor } from './workers/executor.js'
import { CloseCode } from '../protocol/codes.js'
import { stringify } from '../protocol/json.js'
import type { Welcome } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { Admissions } from './auth/connect-hooks.js'
import { Arrivals, checkEnding } from './auth/pending-upgrades.js'
import { Bus } from './store/bus.js'
import { Channels } from './channels/channels.js'
import type { ConnectionContext } from './context/connection-context.js'
import { Connection, type ConnectionHost, type WebSocketLike } from './connection/connection.js'
import { DefaultRateLimiter } from './limits/default-rate-limiter.js'
import { type Destinations, afterFrames, dispatch } from './dispatch.js'
import { Crdts } from './crdts/crdts.js'
import { encodeMessage } from './connection/encoding.js'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import { Events } from './events/events.js'
import { Flusher } from './connection/flusher.js'
import { Scope, type SchemaCompiler } from './scope/scope.js'
import { Hub, type Target, checkTarget } from './connection/hub.js'
import { type Lease, Leases } from './auth/token-refresh.js'
import { LiveState } from './keys/live-state.js'
import type { Logger } from './context/logger.js'
import { Metrics } from './metrics/metrics.js'
import type { RateLimiter } from './config/server-options.js'
import { FrameLimiter } from './limits/frame-limiter.js'
import { RpcRegistry } from './rpc/rpc.js'
import { Sessions } from './sessions/sessions.js'
import type { Settings } from './config/settings.js'
import type { StateStore } from './store/state-store.js'
import { openStores } from './store/stores.js'
import { until } from './lifecycle/until.js'
import { Workers } from './workers/workers.js'

/** ms that clients have for their close frame, even where calls have used up the time. */
const GRACE = 500

/** There are no more correlation ids, even where calls in flight are unlimited. */
const MAX_IDS = 0xffffffff

/** ms before what the backend did not tell is asked again. */
const RETRY = 1000

/**
 * The server without its outside: every part, wired, and the way of a connection through them.
 * Whoever owns the HTTP server starts it, hands it sockets, and stops it.
 */
export class Core implements Destinations, ConnectionHost {
  readonly hub = new Hub()
  readonly flusher = new Flusher()
  readonly metrics: Metrics
  readonly root: Scope
  readonly bus: Bus
  readonly store: StateStore
  readonly rateLimiter: RateLimiter
  readonly limiter: FrameLimiter
  readonly rpc: RpcRegistry
  readonly events: Events
  readonly live: LiveState
  readonly channels: Channels
  readonly sessions: Sessions
  readonly crdts: Crdts
  readonly #stores: StateStore[]
  readonly leases: Leases
  readonly workers: Workers | undefined
  readonly arrivals = new Arrivals()
  readonly admissions: Admissions
  readonly #backend: StateBackend
  #heartbeat: NodeJS.Timeout | undefined
  #connecting: Promise<void> | undefined
  #starting: Promise<void> | undefined
  #announced: Promise<void> | undefined
  #isConnected = false
  #isLimiterConnected = false

  constructor (readonly settings: Settings, readonly log: Logger, backend: StateBackend, journal: Journal, compileSchema?: SchemaCompiler, executor?: Executor) {
    this.#backend = backend
    this.metrics = new Metrics(() => this.hub.size, executor && (() => executor.metrics()))
    this.root = new Scope(undefined, compileSchema)
    this.bus = new Bus(backend, log)
    const { state, crdt, session } = openStores(backend, journal, settings, this.metrics, log)
    this.#stores = [state, crdt, session]
    this.store = state
    this.rateLimiter = settings.rateLimiter ?? new DefaultRateLimiter(backend)
    this.limiter = new FrameLimiter(settings.rateLimit, this.rateLimiter, settings.rateLimiter === undefined, this.metrics, log)
    this.rpc = new RpcRegistry(settings, this.metrics, log)
    this.events = new Events(settings, this.bus, this.metrics, log)
    this.live = new LiveState(settings, this.store, this.root, this.metrics, log)
    this.crdts = new Crdts(settings, crdt, this.live, this.root, this.metrics, log)
    this.sessions = new Sessions(session, this.hub, settings, log)
    this.channels = new Channels(settings, this.store, this.live, this.crdts, this.metrics, log, () => this.#isUsable)
    this.leases = new Leases(settings, log)
    this.admissions = new Admissions(settings, this.root, this.hub, log)
    this.workers = executor && new Workers(executor, this)
    this.rpc.lacksWorkers = executor !== undefined
    for (const each of [this.bus, ...this.#stores]) each.ready = () => this.ready()
    this.store.doubted = () => { this.#relearn() }
    this.live.names.announce = (key, isLive) => { this.bus.publish(isLive ? 'live' : 'gone', { key }) }
    this.crdts.mirrors.names.announce = (key, isLive) => { this.bus.publish(isLive ? 'crdt' : 'crdtGone', { key }) }
    for (const { names } of [this.live, this.crdts.mirrors]) names.unsure = () => { this.#relearn() }
    if (backend.connect === undefined) this.crdts.start()
  }

  /** From now on calls wait for `starting`, which will call `start` when it is the core's turn. */
  announce (starting: Promise<unknown>): void {
    this.#announced = starting.then(() => {})
    this.#announced.catch(() => {}) // whoever starts the server is told
  }

  /** Connects the backend and the limiter: from then on they can be used. May be called again. Where it fails, all is given back. */
  connect (): Promise<void> {
    return (this.#connecting ??= this.#connect())
  }

  async #connect (): Promise<void> {
    try {
      await this.#backend.connect?.(this.log)
      this.#isConnected = true
      await this.#connectLimiter()
    } catch (error) {
      await this.#giveBack()
      throw error
    }
    this.crdts.start()
  }

  /** Joins the other nodes. May be called again. */
  start (): Promise<void> {
    return (this.#starting ??= this.#start())
  }

  async #start (): Promise<void> {
    this.rpc.compile()
    await this.connect()
    await this.bus.open({
      event: (message) => { this.events.deliver(message) },
      fanout: ({ payload, to, except }) => { this.#deliver(payload, { to, except }) },
      live: ({ key }) => { this.live.names.learn(key) },
      gone: ({ key }) => { void this.live.names.doubt(key) },
      crdt: ({ key }) => { this.crdts.mirrors.names.learn(key) },
      crdtGone: ({ key }) => { void this.crdts.mirrors.names.doubt(key) },
      disconnect: ({ userId, code, reason }) => { this.#disconnect(userId, code, reason) }
    })
    await this.#learn()
    this.channels.start()
    await this.workers?.start(this)
    this.rpc.lacksWorkers = false
    this.#heartbeat = setInterval(() => { for (const connection of this.hub) connection.beat() }, this.settings.heartbeatMs)
    this.#heartbeat.unref()
  }

  /** The user's; ours asks the backend, which is connected. */
  async #connectLimiter (): Promise<void> {
    const { rateLimiter } = this.settings
    if (rateLimiter?.connect === undefined) return
    await rateLimiter.connect()
    this.#isLimiterConnected = true
  }

  async #learn (): Promise<void> {
    await this.live.names.relearn()
    await this.crdts.mirrors.names.relearn()
  }

  /** Which keys are live: what other nodes said of it may have been missed. Asked until it is told. */
  #relearn (isRetry = false): void {
    if (!this.#isConnected) return
    this.#learn().catch((error: unknown) => {
      if (!isRetry) this.log.error({ err: error }, 'the live keys could not be read again; it is tried until they can')
      void setTimeout(RETRY, undefined, { ref: false }).then(() => { this.#relearn(true) })
    })
  }

  /**
   * The one entrance of every transport: an authenticated WebSocket, and the stream below it.
   * `onConnect` hooks have run by then.
   * @param lease how long the authentication holds; undefined for good
   */
  accept (socket: WebSocketLike, raw: Duplex, context: ConnectionContext, lease?: Lease): Connection {
    const connection = new Connection(this, socket, raw, context)
    socket.on('message', (data, isBinary) => { dispatch(this, connection, data, isBinary) })
    socket.on('ping', () => { connection.pinged() })
    socket.on('close', (code) => { afterFrames(connection, () => { this.#ended(connection, code) }) })
    socket.on('error', (error) => {
      // ws answers a broken WebSocket frame with the close code that is due
      this.metrics.badFrames++
      this.log.debug({ err: error, connectionId: connection.id }, 'a socket failed')
    })
    this.hub.add(connection)
    if (context.protocol === 2) {
      const { heartbeatMs, maxPayload, maxCallsInFlight } = this.settings
      const welcome: Welcome = { protocol: 2, connectionId: connection.id, userId: context.userId, heartbeatMs, maxPayload, maxCallsInFlight: Math.min(maxCallsInFlight, MAX_IDS) }
      connection.send(encodeMessage(Opcode.WELCOME, 0, JSON.stringify(welcome), Infinity))
    }
    this.leases.grant(connection, lease)
    this.live.connected(connection)
    this.crdts.mirrors.connected(connection)
    return connection
  }

  broadcast (event: string, data: unknown, target: Target = {}): void {
    checkTarget(event, target)
    const json = stringify(data, this.settings.maxJsonDepth)
    const payload = `{"event":${JSON.stringify(event)},${json === undefined ? '' : `"data":${json},`}"timestamp":${Date.now()}}`
    this.bus.publish('fanout', { payload, ...target })
    this.#deliver(payload, target)
  }

  disconnectUser (userId: string, code: number, reason: string): void {
    if (typeof userId !== 'string') throw invalidArgument('disconnectUser: the user id must be a string')
    checkEnding({ code, reason })
    this.bus.publish('disconnect', { userId, code, reason })
    this.#disconnect(userId, code, reason)
  }

  /** Takes no more calls, lets those in flight finish, closes every connection with 1001, lets hooks and handlers finish, then stores sessions; within `closeTimeoutMs`. */
  async drain (): Promise<void> {
    const deadline = performance.now() + this.settings.closeTimeoutMs
    clearInterval(this.#heartbeat)
    this.rpc.isDraining = true
    await until(deadline, () => Array.from(this.hub).every(({ calls }) => calls === undefined || calls.size === 0))
    await this.channels.release()
    for (const connection of this.hub) connection.close(CloseCode.GOING_AWAY, 'server going away')
    await until(Math.max(deadline, performance.now() + GRACE), () => this.hub.size === 0)
    for (const connection of this.hub) connection.terminate()
    this.bus.close() // or what other nodes emit would give handlers work without end
    await until(deadline, () => this.workers?.isIdle ?? true)
    // the hooks of those that were cut off begin a moment later
    await until(Math.max(deadline, performance.now() + GRACE), () => this.hub.size === 0 && this.admissions.departing === 0 && this.events.running === 0)
    await this.channels.drain(Math.max(deadline, performance.now() + GRACE))
    if (this.#isUsable) await this.sessions.drain(Math.max(deadline, performance.now() + GRACE))
  }

  /** Gives back what `start` took, however far that came. */
  async stop (): Promise<void> {
    clearInterval(this.#heartbeat)
    this.leases.close()
    await this.workers?.close()
    this.bus.close()
    this.sessions.close()
    for (const store of this.#stores) store.close()
    this.limiter.close()
    await this.#connecting?.catch(() => {}) // whoever connected it has been told
    await this.#giveBack()
  }

  async #giveBack (): Promise<void> {
    if (this.#isLimiterConnected) {
      this.#isLimiterConnected = false
      await this.settings.rateLimiter!.close?.()
    }
    if (!this.#isConnected) return
    this.#isConnected = false
    await this.#backend.close?.()
  }

  /** A backend that has to connect cannot be used before; others can be at once. */
  get #isUsable (): boolean { return this.#isConnected || this.#backend.connect === undefined }

  ready (): Promise<void> | undefined {
    return this.#isUsable ? undefined : this.#started('backend')
  }

  /** The same of the limiter, where it is the user's; ours needs the backend only. */
  limiterReady (): Promise<void> | undefined {
    const { rateLimiter } = this.settings
    if (rateLimiter === undefined) return this.ready()
    return this.#isLimiterConnected || rateLimiter.connect === undefined ? undefined : this.#started('rateLimiter')
  }

  #started (what: string): Promise<void> {
    return this.#connecting ?? this.#announced ?? Promise.reject(new DatasoleError('NOT_STARTED', `the ${what} is not connected yet: await ds.init() first`))
  }

  #deliver (payload: string, target: Target): void {
    let message: Buffer | undefined
    for (const each of this.hub.select(target)) each.send(message ??= encodeMessage(Opcode.EVENT_S2C, 0, payload, this.settings.compressionThreshold))
  }

  #disconnect (userId: string, code: number, reason: string): void {
    this.arrivals.disconnect(userId, { code, reason })
    for (const connection of [...this.hub.ofUser(userId)]) connection.close(code, reason)
  }

  #ended (connection: Connection, code: number): void {
    connection.ended()
    this.leases.end(connection)
    this.hub.remove(connection)
    this.live.disconnected(connection)
    this.crdts.mirrors.disconnected(connection)
    this.channels.disconnected(connection)
    this.rpc.disconnected(connection)
    this.workers?.departed(connection.context)
    this.admissions.departed(connection.context, code)
    this.sessions.departed(connection.context.userId)
  }
}
