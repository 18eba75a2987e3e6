import { Server, type IncomingMessage, type ServerResponse } from 'node:http'
import { Server as SecureServer } from 'node:https'
import Fastify, { type FastifyInstance } from 'fastify'
import { pino } from 'pino'
import type { DatasoleContract } from '../lib/protocol/contract.js'
import type { Core } from '../lib/server/core.js'
import { Datasole, type Primitives, createCore } from '../lib/server/datasole.js'
import { DatasoleError, invalidArgument } from '../lib/protocol/errors.js'
import { TransportFacade } from '../lib/server/facades.js'
import { refuseUpgrade } from '../lib/server/refuse-upgrade.js'
import { BUNDLES, assetPath } from './assets.js'
import type { DatasoleServerOptions, UpgradeRouter } from './connections.js'
import { enter, pathOf } from './front-door.js'
import { mount } from './mount.js'
import { WORKER_SCHEMAS, schemaCompiler } from './schema-compiler.js'

type AnyHttpServer = Server | SecureServer

/** What `attach` takes: an http(s) server, or something that has one (NestJS, Fastify). */
export type AttachTarget = AnyHttpServer | { getHttpServer: () => unknown } | { server: unknown }

/**
 * The server beside an http server of yours: Express, Koa, NestJS, plain `http.createServer()`.
 * It is the same composition as the Fastify plugin, in a private Fastify that gets only the requests
 * and upgrades of our path.
 *
 * @throws DatasoleError `INVALID_OPTION`, naming the option
 */
export class DatasoleServer<C extends DatasoleContract = DatasoleContract> extends Datasole<C> {
  declare readonly primitives: Primitives<C, DatasoleServer<C>>
  declare readonly transport: StandaloneTransport<this>
  readonly #host: PrivateHost

  constructor (options: DatasoleServerOptions = {}) {
    const log = options?.logger ?? pino({ level: 'warn' })
    const app = Fastify({ logger: false, exposeHeadRoutes: true, forceCloseConnections: true, pluginTimeout: 0 })
    const core = createCore(options, log, schemaCompiler(app), WORKER_SCHEMAS)
    super(core)
    this.#host = new PrivateHost(app, core)
    this.transport = new StandaloneTransport(core, this, this.#host)
  }

  /** Connects the backend, and takes effect once; nothing to wait for in memory. */
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

/** Constructs, starts and attaches a server in one go. */
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
    super(core, server)
    this.#host = host
  }

  /**
   * Serves the WebSocket and the client bundles on an http server; everything else on it stays with
   * its owner. Also works before `init()` has been awaited.
   * @param adapter gets the http server out of a target that is not recognized
   * @throws TypeError where there is no http server
   */
  attach<T = AttachTarget> (target: T, adapter?: (target: T) => AnyHttpServer): void {
    this.#host.attach(httpServerOf(target, adapter))
  }
}

class PrivateHost {
  readonly #app: FastifyInstance
  readonly #core: Core
  readonly #leave: Array<() => void> = []
  #starting: Promise<UpgradeRouter> | undefined
  #closing: Promise<void> | undefined

  constructor (app: FastifyInstance, core: Core) {
    this.#app = app
    this.#core = core
  }

  start (): Promise<UpgradeRouter> {
    if (this.#closing !== undefined) return Promise.reject(new DatasoleError('CLOSED', 'this server is closed; construct a new one'))
    if (this.#starting === undefined) this.#core.announce(this.#starting = this.#start())
    return this.#starting
  }

  async #start (): Promise<UpgradeRouter> {
    let router: UpgradeRouter | undefined
    this.#app.register(async (app) => { router = await mount(app, this.#core) })
    await this.#app.ready()
    return router!
  }

  attach (server: AnyHttpServer): void {
    if (this.#closing !== undefined) throw new DatasoleError('CLOSED', 'this server is closed; construct a new one')
    const { path } = this.#core.settings
    const own = new Set<string>(BUNDLES.map((bundle) => assetPath(path, bundle)))
    this.#leave.push(enter(server as Server, {
      upgrade: (req, socket, head) => {
        if (req.method !== 'GET' || pathOf(req) !== path) return false
        socket.on('error', destroy)
        this.start().then(
          (route) => { socket.off('error', destroy); route(req, socket, head) },
          (error: unknown) => { this.#failed(error); refuseUpgrade(socket, '503 Service Unavailable') }
        )
        return true
      },
      request: (req, res) => {
        const requested = pathOf(req)
        // at the root, pages are the owner's
        if (!own.has(requested) && (requested !== path || path === '/')) return false
        this.#serve(req, res)
        return true
      }
    }))
  }

  close (): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close (): Promise<void> {
    // what is still starting is let through first: half a start cannot be taken back
    await this.#starting?.catch(() => {}) // whoever started it has been told
    await this.#app.close()
    // where it never started, there is no plugin that does it
    if (this.#starting === undefined) {
      await this.#core.drain()
      await this.#core.stop()
    }
    for (const leave of this.#leave) leave()
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

function destroy (this: { destroy: () => void }): void {
  this.destroy()
}

function httpServerOf<T> (target: T, adapter?: (target: T) => AnyHttpServer): AnyHttpServer {
  const candidate = target as { getHttpServer?: () => unknown, server?: unknown } | undefined
  const found = adapter !== undefined
    ? adapter(target)
    : isServer(target) ? target : typeof candidate?.getHttpServer === 'function' ? candidate.getHttpServer() : candidate?.server
  if (!isServer(found)) {
    throw invalidArgument('transport.attach takes an http.Server or https.Server, an object with getHttpServer() or server, or an adapter as second argument that returns one; for an Express app, pass http.createServer(app)')
  }
  return found
}

function isServer (value: unknown): value is AnyHttpServer {
  return value instanceof Server || value instanceof SecureServer
}
