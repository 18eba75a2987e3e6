import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import datasole from '../../../index.js'
import http, { type HttpPluginOptions } from '../../../plugins/http.js'
import { type Datasole, DatasoleServer, type DatasoleServerOptions } from '../../../plugins/server.js'
import { capturedLogger } from '../../helpers/entrances.js'
import { type ConnectOptions, type Wire, connect } from '../../helpers/wire.js'

export interface HttpServer {
  /** Before the routes of the plugin: `http://127.0.0.1:port/api`. */
  api: string
  port: number
  ds: Datasole
  /** Everything that was logged. */
  logs: string[]
  connect (options?: ConnectOptions): Promise<Wire>
  close (): Promise<void>
}

export interface HttpStartOptions extends DatasoleServerOptions {
  http?: HttpPluginOptions
  /** Called before the plugin is registered. */
  prepare?: (ds: Datasole, app: Pick<FastifyInstance, 'register'>) => unknown
}

export type HttpStart = (t: Pick<Test, 'teardown'>, options?: HttpStartOptions) => Promise<HttpServer>

/** Requests of these tests are many, and of one user. */
const UNLIMITED: DatasoleServerOptions = { rateLimit: false }

const connector = (t: Pick<Test, 'teardown'>, port: number) => async (options?: ConnectOptions): Promise<Wire> => {
  const wire = await connect(`ws://127.0.0.1:${port}/__ds`, options)
  t.teardown(() => { wire.socket.terminate() })
  return wire
}

/** In a scope of Fastify that has a prefix of its own. */
export const startFastify: HttpStart = async (t, { http: options, prepare, ...server } = {}) => {
  const logs: string[] = []
  const app = Fastify({ loggerInstance: capturedLogger(logs) as never })
  t.teardown(() => app.close())
  await app.register(datasole, { ...UNLIMITED, ...server })
  await app.register(async (scope) => {
    await prepare?.(scope.ds as unknown as Datasole, scope)
    await scope.register(http, options ?? {})
  }, { prefix: '/api' })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  return { api: `http://127.0.0.1:${port}/api`, port, ds: app.ds as unknown as Datasole, logs, connect: connector(t, port), close: () => app.close() }
}

/** Beside a plain http server. */
export const startPlain: HttpStart = async (t, { http: options, prepare, ...server } = {}) => {
  const logs: string[] = []
  const plain = createServer((_req, res) => { res.end('the rest') })
  const ds = new DatasoleServer({ logger: capturedLogger(logs), ...UNLIMITED, ...server })
  const close = async (): Promise<void> => {
    await ds.close()
    plain.closeAllConnections()
    plain.close()
  }
  t.teardown(close)
  await prepare?.(ds as unknown as Datasole, { register: (plugin: never, given: never) => ds.register(plugin, given) } as never)
  ds.register(http, { ...options, prefix: `/api${options?.prefix ?? ''}` })
  ds.transport.attach(plain)
  await ds.init()
  plain.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  const { port } = plain.address() as AddressInfo
  return { api: `http://127.0.0.1:${port}/api`, port, ds: ds as unknown as Datasole, logs, connect: connector(t, port), close }
}

export const httpEntrances: ReadonlyArray<[name: string, start: HttpStart]> = [['fastify', startFastify], ['plain', startPlain]]

export interface Answer { status: number, headers: Headers, body: any }

/** A request; an object as body is sent as JSON. */
export async function ask (url: string, { json, type = 'application/json', headers, ...init }: Omit<RequestInit, 'headers'> & { json?: unknown, type?: string, headers?: Record<string, string> } = {}): Promise<Answer> {
  const response = await fetch(url, { ...init, headers: { ...headers, ...json !== undefined && { 'content-type': type } }, ...json !== undefined && { body: JSON.stringify(json) } })
  const text = await response.text()
  return { status: response.status, headers: response.headers, body: text === '' ? undefined : JSON.parse(text) }
}
