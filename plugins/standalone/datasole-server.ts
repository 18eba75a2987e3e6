import { Server } from 'node:http'
import { Server as SecureServer } from 'node:https'
import { Server as TlsServer } from 'node:tls'
import type { FastifyInstance, FastifyPluginOptions } from 'fastify'
import { pino } from 'pino'
import type { DatasoleContract } from '../../lib/protocol/contract.js'
import type { Core } from '../../lib/server/core.js'
import { Datasole, type Primitives, createCore } from '../../lib/server/datasole.js'
import { invalidArgument } from '../../lib/protocol/errors.js'
import { TransportFacade } from '../../lib/server/connection/transport-facade.js'
import type { DatasoleServerOptions } from '../connections.js'
import { WORKER_SCHEMAS, schemaCompiler } from '../schema-compiler.js'
import { type AnyHttpServer, PrivateHost, privateFastify } from './private-host.js'

/** The target of `attach`: an http(s) server, or an object with one (NestJS, Fastify). */
export type AttachTarget = AnyHttpServer | { getHttpServer: () => unknown } | { server: unknown }

/**
 * A server to attach to your http server: Express, Koa, NestJS or plain `http.createServer()`. It runs the Fastify
 * plugin in a private Fastify instance, which gets only the requests and upgrades of its own paths.
 * @throws DatasoleError `INVALID_OPTION`; the message names the option
 */
export class DatasoleServer<C extends DatasoleContract = DatasoleContract> extends Datasole<C> {
  /** State, events, messages, rate limits, sessions and CRDTs. */
  declare readonly primitives: Primitives<C, DatasoleServer<C>>
  /** The open connections of this node, and `attach`. */
  declare readonly transport: StandaloneTransport<this>
  readonly #host: PrivateHost

  /** The type of the option `contract` types the server. */
  constructor (options: DatasoleServerOptions & { contract: C })
  constructor (options?: DatasoleServerOptions)
  constructor (options: DatasoleServerOptions = {}) {
    const log = options?.logger ?? pino({ level: 'warn' })
    const app = privateFastify(options)
    const core = createCore(options, log, schemaCompiler(app), WORKER_SCHEMAS)
    super(core)
    this.#host = new PrivateHost(app, core, (options.trustProxy ?? false) !== false)
    this.#host.carry(this)
    this.transport = new StandaloneTransport(core, this, this.#host)
  }

  /**
   * Registers a Fastify plugin on the private Fastify instance. It loads at `init()`, which rejects if the plugin fails.
   * @param plugin `datasole/redis` or a similar plugin, or a function, whose instance has its own `ds`
   * @param options the options of the plugin. Default none
   * @throws DatasoleError `TOO_LATE` after `init()`
   */
  register<O extends FastifyPluginOptions> (plugin: (app: FastifyInstance, options: O) => Promise<void>, options?: O): this {
    this.#host.register(plugin, options)
    return this
  }

  /**
   * Connects the backend, and loads the plugins of `register`. Later calls return the same result.
   * @throws DatasoleError `CLOSED`, `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED`, `DRIVER_MISSING`; errors of plugins
   */
  async init (): Promise<void> {
    await this.#host.start()
  }

  /**
   * Waits for calls in flight, closes clients with 1001, and detaches from every http server. A second call returns the
   * same result.
   */
  async close (): Promise<void> {
    await this.#host.close()
  }
}

/**
 * Constructs, attaches and starts a server.
 * @param target the http server, or an object with one
 * @param options the same as for `new DatasoleServer`
 * @throws the errors of the constructor, `transport.attach` and `init`; the server is closed after an error
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
   * Serves the WebSocket and the client bundles on an http server. It may be called before `init()`. The http server's
   * own listeners get all other requests. If it closes first, its clients are closed with 1001 after their calls.
   * @param target an http(s) server, or an object with one (NestJS, Fastify)
   * @param adapter returns the http server of any other target
   * @throws TypeError `INVALID_ARGUMENT` if there is no http server; DatasoleError `PATH_TAKEN`, `CLOSED`
   */
  attach<T = AttachTarget> (target: T, adapter?: (target: T) => AnyHttpServer): void {
    this.#host.attach(httpServerOf(target, adapter))
  }
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
    // node:http2 does not export its class; `headersTimeout` exists only with allowHTTP1
    (value instanceof TlsServer && 'updateSettings' in value && 'headersTimeout' in value)
}
