import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Http2SecureServer } from 'node:http2'
import type { Server as SecureServer } from 'node:https'
import type { Duplex } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyPluginOptions } from 'fastify'
import fp from 'fastify-plugin'
import type { Core } from '../../lib/server/core.js'
import { DatasoleError, messageOf } from '../../lib/protocol/errors.js'
import type { ServerSockets, UpgradeRouter } from '../../lib/server/entrance.js'
import { refuseUpgrade } from '../../lib/server/auth/refuse-upgrade.js'
import { BUNDLES, assetPath } from '../assets.js'
import type { DatasoleServerOptions } from '../connections.js'
import { type Mounted, begin, mount } from '../mount.js'
import { schemaCompiler } from '../schema-compiler.js'
import { upgrades } from '../upgrades.js'
import { directEntrance, needsFastify } from './direct-entrance.js'
import { enter, pathOf } from './front-door.js'

/** Maximum length of a key in a URL, the same as in a frame. */
const MAX_PARAM = 8 * 1024

export type AnyHttpServer = Server | SecureServer | Http2SecureServer

/** @throws DatasoleError `INVALID_OPTION` for invalid addresses in `trustProxy` */
export function privateFastify (options: DatasoleServerOptions | undefined): FastifyInstance {
  const trustProxy = options?.trustProxy ?? false
  try {
    return Fastify({ logger: false, exposeHeadRoutes: true, forceCloseConnections: true, pluginTimeout: 0, trustProxy, routerOptions: { maxParamLength: MAX_PARAM } })
  } catch (error) {
    throw new DatasoleError('INVALID_OPTION', `datasole: option trustProxy: ${messageOf(error)}`)
  }
}

/** The private Fastify of a server, and the http servers to which it is attached. */
export class PrivateHost {
  readonly #app: FastifyInstance
  readonly #core: Core
  readonly #trustsProxy: boolean
  readonly #leave = new Map<AnyHttpServer, () => void>()
  #route: UpgradeRouter | undefined
  /** Handles upgrades for the path if they do not need Fastify. */
  #direct: UpgradeRouter | undefined
  #needsFastify: ReturnType<typeof needsFastify> | undefined
  #starting: Promise<Mounted> | undefined
  #closing: Promise<void> | undefined

  /** @param trustsProxy whether the client's address and host come from a proxy's headers */
  constructor (app: FastifyInstance, core: Core, trustsProxy: boolean) {
    this.#app = app
    this.#core = core
    this.#trustsProxy = trustsProxy
  }

  /** Gives the plugins of the private instance their `ds`, by scope. */
  carry (ds: object): void {
    this.#app.decorate('ds', ds as never)
    this.#app.addHook('onRegister', (instance) => { instance.ds = instance.ds.derive(schemaCompiler(instance), instance.pluginName) })
    // register it first, so that other plugins have a connected backend, and a failed plugin closes it
    this.#app.register(fp(async (app) => {
      await begin(app, this.#core)
      this.#route = await upgrades(app, this.#core) // before plugins with websocket routes
      this.#needsFastify = needsFastify(app, this.#core, this.#trustsProxy)
    }, { name: 'datasole' }))
  }

  register<O extends FastifyPluginOptions> (plugin: (app: FastifyInstance, options: O) => Promise<void>, options?: O): void {
    if (this.#starting !== undefined || this.#closing !== undefined) throw new DatasoleError('TOO_LATE', 'register: init() was already called; register plugins before it')
    this.#app.register(plugin, options as O)
  }

  start (): Promise<Mounted> {
    if (this.#closing !== undefined) return Promise.reject(new DatasoleError('CLOSED', 'this server is closed; construct a new one'))
    if (this.#starting === undefined) this.#core.announce(this.#starting = this.#start())
    return this.#starting
  }

  async #start (): Promise<Mounted> {
    let mounted: Mounted | undefined
    let choose = (): void => {}
    this.#app.register(async (app) => {
      mounted = await mount(app, this.#core, this.#route!)
      const direct = directEntrance(app, this.#core, mounted.entrance)
      choose = () => { if (!this.#needsFastify!(app)) this.#direct = direct }
    })
    try {
      await this.#app.ready()
      choose()
    } catch (error) {
      await this.#core.stop() // a plugin may have failed before the core started
      throw error
    }
    return mounted!
  }

  attach (server: AnyHttpServer): void {
    if (this.#closing !== undefined) throw new DatasoleError('CLOSED', 'this server is closed; construct a new one')
    if (this.#leave.has(server)) {
      this.#core.log.warn('transport.attach: this server is already attached to that http server; remove this call, which does nothing')
      return
    }
    const { path, asyncapiPath } = this.#core.settings
    const own = new Set<string | undefined>([...BUNDLES.map((bundle) => assetPath(path, bundle)), asyncapiPath])
    const sockets = new Sockets(server)
    this.#leave.set(server, enter(server as Server, {
      path,
      upgrade: (req, socket, head) => {
        const requested = pathOf(req)
        if (req.method !== 'GET' || (requested !== path && !this.#core.socketRoutes.has(requested))) return false
        if (sockets.isClosing && !server.listening) {
          refuseUpgrade(socket, { status: 503 })
          return true
        }
        if (requested === path && this.#direct !== undefined && this.#closing === undefined && sockets.isOwn(socket)) return this.#direct(req, socket, head)
        sockets.add(socket)
        socket.on('error', destroy)
        this.start().then(
          ({ route }) => {
            socket.off('error', destroy)
            const way = requested === path ? this.#direct ?? route : route
            way(req, socket, head)
          },
          (error: unknown) => { this.#failed(error); refuseUpgrade(socket, { status: 503 }) }
        )
        return true
      },
      request: (req, res) => {
        const requested = pathOf(req)
        // at the path "/", plain requests belong to the http server's own listeners
        if (!own.has(requested) && !this.#core.routes.has(requested) && (requested !== path || path === '/')) return false
        // refuse requests on kept-alive connections: a stream would keep the http server open
        if (sockets.isClosing && !server.listening) return unavailable(req, res)
        sockets.carriers.add(req.socket)
        this.#serve(req, res)
        return true
      },
      closing: () => {
        sockets.isClosing = true
        this.#starting?.then(({ release }) => release(sockets), () => {}) // a failed start was reported to its caller
      }
    }))
  }

  close (): Promise<void> {
    return (this.#closing ??= this.#close())
  }

  async #close (): Promise<void> {
    // wait for a start in progress, because half a start cannot be undone
    await this.#starting?.catch(() => {}) // its caller gets the error
    if (this.#starting === undefined) {
      // do not close the private instance: that would first load its plugins and connect unused backends
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
    this.#core.log.error({ err: error }, 'a request was refused: the server did not start')
  }
}

/** The sockets of one http server. */
class Sockets implements ServerSockets {
  readonly upgrades = new Set<Duplex>()
  /** Sockets of requests. */
  readonly carriers = new WeakSet<Duplex>()
  isClosing = false
  readonly #server: AnyHttpServer
  readonly #ended: (this: Duplex) => void

  constructor (server: AnyHttpServer) {
    this.#server = server
    const { upgrades } = this
    this.#ended = function () { upgrades.delete(this) }
  }

  add (socket: Duplex): void {
    this.upgrades.add(socket)
    socket.on('close', this.#ended) // not `once`, which allocates two more objects per socket
  }

  /** Whether the http server itself has accepted the socket: other code may emit upgrades of other sockets on it. */
  isOwn (socket: Duplex & { server?: unknown }): boolean {
    return socket.server === this.#server
  }

  has (socket: Duplex): boolean {
    return this.isOwn(socket) || this.upgrades.has(socket) || this.carriers.has(socket)
  }
}

function unavailable ({ httpVersionMajor }: IncomingMessage, res: ServerResponse): true {
  // HTTP/2 forbids this header (RFC 9113 section 8.2.2)
  res.writeHead(503, httpVersionMajor === 2 ? {} : { connection: 'close' }).end()
  return true
}

function destroy (this: { destroy: () => void }): void {
  this.destroy()
}
