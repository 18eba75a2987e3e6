import { once } from 'node:events'
import { type Server, createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import Fastify, { type FastifyInstance } from 'fastify'
import { pino } from 'pino'
import datasole from '../../index.js'
import type { Datasole } from '../../lib/server/datasole.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../plugins/server.js'
import { type ConnectOptions, type V1Client, type Wire, connect, connectV1 } from './wire.js'

export interface Running {
  ds: Datasole
  /** Where clients connect: `ws://127.0.0.1:port/path`. */
  url: string
  /** `http://127.0.0.1:port` */
  origin: string
  port: number
  server: Server
  /** Everything that was logged, at level trace, Fastify's own lines included. */
  logs: string[]
  connect (options?: ConnectOptions): Promise<Wire>
  connectV1 (options?: ConnectOptions): Promise<V1Client>
  /** Closes datasole and the http server; it is done at the test's end if not before. */
  close (): Promise<void>
}

export interface StartOptions extends DatasoleServerOptions {
  /** Called before the server starts: hooks, routes and methods of the test's own. */
  prepare?: (ds: Datasole, server: Server, app?: FastifyInstance) => unknown
}

interface Test { teardown (fn: () => unknown): void }

export type Start = (t: Test, options?: StartOptions) => Promise<Running>

/** A pino at level trace that writes into `lines`. */
export function capturedLogger (lines: string[]): ReturnType<typeof pino> {
  return pino({ level: 'trace' }, new Writable({ write (chunk, _encoding, done) { lines.push(String(chunk)); done() } }))
}

async function running (t: Test, ds: Datasole, server: Server, logs: string[], path: string, end: () => Promise<unknown>): Promise<Running> {
  const { port } = server.address() as AddressInfo
  const url = `ws://127.0.0.1:${port}${path}`
  const clients: Array<Wire | V1Client> = []
  let closing: Promise<unknown> | undefined
  const close = async (): Promise<void> => { await (closing ??= end()) }
  t.teardown(async () => {
    for (const client of clients) ('wire' in client ? client.wire : client).socket.terminate()
    await close()
  })
  return {
    ds,
    url,
    origin: `http://127.0.0.1:${port}`,
    port,
    server,
    logs,
    close,
    async connect (options) {
      const client = await connect(url, options)
      clients.push(client)
      return client
    },
    async connectV1 (options) {
      const client = await connectV1(url, options)
      clients.push(client)
      return client
    }
  }
}

const startFastify: Start = async (t, { prepare, ...options } = {}) => {
  const logs: string[] = []
  const app = Fastify({ loggerInstance: capturedLogger(logs) as never })
  await app.register(datasole, options)
  const ds = app.ds as unknown as Datasole
  ds.rpc.register('echo', (params) => params)
  await prepare?.(ds, app.server, app as never)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return await running(t, ds, app.server, logs, options.path ?? '/__ds', () => app.close())
}

const startStandalone: Start = async (t, { prepare, ...options } = {}) => {
  const logs: string[] = []
  const ds = new DatasoleServer({ logger: capturedLogger(logs), ...options })
  const server = createServer()
  ds.rpc.register('echo', (params) => params)
  await prepare?.(ds, server)
  ds.transport.attach(server)
  await ds.init()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return await running(t, ds, server, logs, options.path ?? '/__ds', async () => {
    await ds.close()
    server.closeAllConnections()
    if (server.listening) await new Promise((resolve) => server.close(resolve))
  })
}

/**
 * The ways into a server. Each starts one on port 0 with a method `echo`, and closes it when the test
 * ends. The same test bodies run through all of them:
 *
 * @example for (const [entrance, start] of entrances) t.test(entrance, async (t) => { const { connect } = await start(t) })
 */
export const entrances: ReadonlyArray<[name: string, start: Start]> = [['fastify', startFastify], ['standalone', startStandalone]]
