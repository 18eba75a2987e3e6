import { Server, type IncomingMessage, type ServerResponse } from 'node:http'
import type { Http2SecureServer } from 'node:http2'
import { Server as SecureServer } from 'node:https'
import type { Duplex } from 'node:stream'
import { Server as TlsServer } from 'node:tls'
import Fastify, { type FastifyInstance, type FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import { pino } from 'pino'
import type { DatasoleContract } from '../../lib/protocol/contract.js'
import type { Core } from '../../lib/server/core.js'
import { Datasole, type Primitives, createCore } from '../../lib/server/datasole.js'
import { DatasoleError, invalidArgument, messageOf } from '../../lib/protocol/errors.js'
import { TransportFacade } from '../../lib/server/connection/transport-facade.js'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'
import { BUNDLES, assetPath } from '../assets.js'
import type { DatasoleServerOptions } from '../connections.js'
import { enter, pathOf } from './front-door.js'
import { type Mounted, begin, mount } from '../mount.js'
import { WORKER_SCHEMAS, schemaCompiler } from '../schema-compiler.js'
import { type UpgradeRouter, upgrades } from '../upgrades.js'

/** Characters of a key in a URL, as long as a frame has them. */
const MAX_PARAM = 8 * 1024

type AnyHttpServer = Server | SecureServer | Http2SecureServer

/** The target of `attach`: an http(s) server, or an object that has one (NestJS, Fastify). */
export type AttachTarget = AnyHttpServer | { getHttpServer: () => unknown } | { server: unknown }

/**
 * The server beside an http server of yours: Express, Koa, NestJS, plain `http.createServer()`. It is the same
 * composition as the Fastify plugin, in a private Fastify that gets only the requests and upgrades of our path.
 * @throws DatasoleError `INVALID_OPTION`, naming the option
 */
export class DatasoleServer<C extends DatasoleContract = DatasoleContract> extends Datasole<C> {
  /** State, events, messages, limits, sessions and CRDTs. */
  declare readonly primitives: Primitives<C, DatasoleServer<C>>
  /** The open connections of this node, and `attach`. */
  declare readonly transport: StandaloneTransport<this>
  readonly #host: PrivateHost

  /** A contract types the server. */
  constructor (options: DatasoleServerOptions & { contract: C })
  constructor (options?: DatasoleServerOptions)
  constructor (options: DatasoleServerOptions = {}) {
    const log = options?.logger ?? pino({ level: 'warn' })
    const app = privateFastify(options)
    const core = createCore(options, log, schemaCompiler(app), WORKER_SCHEMAS)
    super(core)
    this.#host = new PrivateHost(app, core)
    this.#host.carry(this)
    this.transport = new StandaloneTransport(core, this, this.#host)
  }

  /**
   * Registers a Fastify plugin on the private Fastify instance. It loads at `init()`, which rejects as the plugin does.
   * @param plugin `datasole/redis` or a sibling, or a function whose instance has a `ds` of its own
   * @param options the options of the plugin. Default none
   * @throws DatasoleError `TOO_LATE` after `init()`
   */
  register<O extends FastifyPluginOptions> (plugin: (app: FastifyInstance, options: O) => Promise<void>, options?: O): this {
    this.#host.register(plugin, options)
    return this
  }

  /**
   * Connects the backend, and loads the plugins of `register`. Takes effect once.
   * @throws DatasoleError `CLOSED`, `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`; as a plugin does
   */
  async init (): Promise<void> {
    await this.#host.start()
  }

  /**
   * Lets calls in flight finish, closes clients with 1001, and leaves every http server as it was.
   * May be called twice.
   */
  async close (): Promise<void> {
    await this.#host.close()
  }
}

/**
 * Constructs, attaches and starts a server.
 * @param target the http server, or an object that has one
 * @param options as of `new DatasoleServer`
 * @throws as the constructor, `transport.attach` and `init`; the server is closed then
 */
export async function attach<C extends DatasoleContract = DatasoleContract> (target: AttachTarget, options?: DatasoleServerOptions): Promise<DatasoleServer<C>> {
  const server = new DatasoleServer<C>(options)
  try {
    server.transport.attach(target)
    await server.init()
    return server
  } catch (error) {
    await server.close()
    throw error
  }
}

/** `ds.transport` of a DatasoleServer. */
export class StandaloneTransport<S> extends TransportFacade<S> {
  readonly #host: PrivateHost

  constructor (core: Core, server: S, host: PrivateHost) {
    super(core.hub, server)
    this.#host = host
  }

  /**
   * Serves the WebSocket and the client bundles on an http server, also before `init()`. Other requests stay with their
   * listeners. If the http server closes first, its clients are closed with 1001 once their calls are done.
   * @param target an http(s) server, or an object that has one (NestJS, Fastify)
   * @param adapter returns the http server of any other target
   * @throws TypeError `INVALID_ARGUMENT` if there is no http server; DatasoleError `PATH_TAKEN`, `CLOSED`
   */
  attach<T = AttachTarget> (target: T, adapter?: (target: T) => AnyHttpServer): void {
    this.#host.attach(httpServerOf(target, adapter))
  }
}

/** @throws DatasoleError `INVALID_OPTION` for addresses that are none */
function privateFastify (options: DatasoleServerOptions | undefined): FastifyInstance {
  const trustProxy = options?.trustProxy ?? false
  try {
    return Fastify({ logger: false, exposeHeadRoutes: true, forceCloseConnections: true, pluginTimeout: 0, trustProxy, routerOptions: { maxParamLength: MAX_PARAM } })
  } catch (error) {
    throw new DatasoleError('INVALID_OPTION', `datasole: option trustProxy: ${messageOf(error)}`)
  }
}

class PrivateHost {
  readonly #app: FastifyInstance
  readonly #core: Core
  readonly #leave = new Map<AnyHttpServer, () => void>()
  #route: UpgradeRouter | undefined
  #starting: Promise<Mounted> | undefined
  #closing: Promise<void> | undefined

  constructor (app: FastifyInstance, core: Core) {
    this.#app = app
    this.#core = core
  }

  /** Makes `ds` known to the plugins of the private instance, by scope. */
  carry (ds: object): void {
    this.#app.decorate('ds', ds as never)
    this.#app.addHook('onRegister', (instance) => { instance.ds = instance.ds.derive(schemaCompiler(instance), instance.pluginName) })
    // before every other plugin, so that they find the backend connected, and a failure of theirs closes it
    this.#app.register(fp(async (app) => {
      await begin(app, this.#core)
      this.#route = await upgrades(app, this.#core) // before plugins that have routes of WebSockets
    }, { name: 'datasole' }))
  }

  register<O extends FastifyPluginOptions> (plugin: (app: FastifyInstance, options: O) => Promise<void>, options?: O): void {
    if (this.#starting !== undefined || this.#closing !== undefined) throw new DatasoleError('TOO_LATE', 'register: plugins load at init(), which was called already; register them before')
    this.#app.register(plugin, options as O)
  }

  start (): Promise<Mounted> {
    if (this.#closing !== undefined) return Promise.reject(new DatasoleError('CLOSED', 'this server is closed; construct a new one'))
    if (this.#starting === undefined) this.#core.announce(this.#starting = this.#start())
    return this.#starting
  }

  async #start (): Promise<Mounted> {
    let mounted: Mounted | undefined
    this.#app.register(async (app) => { mounted = await mount(app, this.#core, this.#route!) })
    try {
      await this.#app.ready()
    } catch (error) {
      await this.#core.stop() // a plugin may have failed before the core began
      throw error
    }
    return mounted!
  }

  attach (server: AnyHttpServer): void {
    if (this.#closing !== undefined) throw new DatasoleError('CLOSED', 'this server is closed; construct a new one')
    if (this.#leave.has(server)) {
      this.#core.log.warn('transport.attach: this server is attached to that http server already, so this call does nothing; leave it out')
      return
    }
    const { path, asyncapiPath } = this.#core.settings
    const own = new Set<string | undefined>([...BUNDLES.map((bundle) => assetPath(path, bundle)), asyncapiPath])
    const sockets = new Sockets()
    this.#leave.set(server, enter(server as Server, {
      path,
      upgrade: (req, socket, head) => {
        const requested = pathOf(req)
        if (req.method !== 'GET' || (requested !== path && !this.#core.socketRoutes.has(requested))) return false
        if (sockets.isClosing && !server.listening) {
          refuseUpgrade(socket, '503 Service Unavailable')
          return true
        }
        sockets.add(socket)
        socket.on('error', destroy)
        this.start().then(
          ({ route }) => { socket.off('error', destroy); route(req, socket, head) },
          (error: unknown) => { this.#failed(error); refuseUpgrade(socket, '503 Service Unavailable') }
        )
        return true
      },
      request: (req, res) => {
        const requested = pathOf(req)
        // at the root, pages are the owner's
        if (!own.has(requested) && !this.#core.routes.has(requested) && (requested !== path || path === '/')) return false
        // on a connection that is kept alive: a stream would keep the http server open again
        if (sockets.isClosing && !server.listening) return unavailable(req, res)
        sockets.carriers.add(req.socket)
        this.#serve(req, res)
        return true
      },
      closing: () => {
        sockets.isClosing = true
        this.#starting?.then(({ release }) => release(sockets.all, sockets.carriers), () => {}) // a start that failed has been told
      }
    }))
  }

  close (): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close (): Promise<void> {
    // a start under way is finished first: half a start cannot be undone
    await this.#starting?.catch(() => {}) // whoever started it has been told
    if (this.#starting === undefined) {
      // closing the private instance would first load its plugins, and connect unused backends
      await this.#core.drain()
      await this.#core.stop()
    } else {
      await this.#app.close()
    }
    for (const leave of this.#leave.values()) leave()
  }

  #serve (req: IncomingMessage, res: ServerResponse): void {
    this.start().then(
      () => { this.#app.routing(req, res) },
      (error: unknown) => { this.#failed(error); res.writeHead(503).end() }
    )
  }

  #failed (error: unknown): void {
    if (this.#closing !== undefined) return
    this.#core.log.error({ err: error }, 'a request came, but the server did not start')
  }
}

/** The sockets of one http server. */
class Sockets {
  /** Of upgrades. */
  readonly all = new Set<Duplex>()
  /** Of requests. */
  readonly carriers = new WeakSet<Duplex>()
  isClosing = false
  readonly #ended: (this: Duplex) => void

  constructor () {
    const { all } = this
    this.#ended = function () { all.delete(this) }
  }

  add (socket: Duplex): void {
    this.all.add(socket)
    socket.once('close', this.#ended)
  }
}

function unavailable ({ httpVersionMajor }: IncomingMessage, res: ServerResponse): true {
  // HTTP/2 has no such header (RFC 9113 section 8.2.2)
  res.writeHead(503, httpVersionMajor === 2 ? {} : { connection: 'close' }).end()
  return true
}

function destroy (this: { destroy: () => void }): void {
  this.destroy()
}

function httpServerOf<T> (target: T, adapter?: (target: T) => AnyHttpServer): AnyHttpServer {
  const candidate = target as { getHttpServer?: () => unknown, server?: unknown } | undefined
  const found = adapter !== undefined
    ? adapter(target)
    : isServer(target) ? target : typeof candidate?.getHttpServer === 'function' ? candidate.getHttpServer() : candidate?.server
  if (!isServer(found)) {
    throw invalidArgument('transport.attach takes an http.Server or https.Server, an http2 server that also speaks HTTP/1.1 (http2.createSecureServer({ allowHTTP1: true })), an object with getHttpServer() or server, or an adapter as second argument that returns one; for an Express app, pass http.createServer(app)')
  }
  return found
}

function isServer (value: unknown): value is AnyHttpServer {
  return value instanceof Server || value instanceof SecureServer ||
    // node:http2 does not export its class; only with allowHTTP1 does it have what http has
    (value instanceof TlsServer && 'updateSettings' in value && 'headersTimeout' in value)
}
