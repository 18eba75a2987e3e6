import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import type { Test } from 'tap'
import datasole from '../../../index.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../../plugins/server.js'
import type { Registrar } from '../../helpers/plugin-entrances.js'
import { type Wire, connect } from '../../helpers/wire.js'

/** A server with plugins that is also asked over HTTP. */
export interface Served {
  url: string
  connect (): Promise<Wire>
  get (path: string): Promise<Response>
}

type StartServed = (t: Test, build: (app: Registrar) => unknown, options?: DatasoleServerOptions) => Promise<Served>

const served = (port: number): Served => ({
  url: `http://127.0.0.1:${port}`,
  connect: async () => await connect(`ws://127.0.0.1:${port}/__ds`),
  get: async (path) => await fetch(`http://127.0.0.1:${port}${path}`)
})

const startFastify: StartServed = async (t, build, options) => {
  const app = Fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  await app.register(datasole, options ?? {})
  await build(app)
  await app.listen({ port: 0, host: '127.0.0.1' })
  return served((app.server.address() as AddressInfo).port)
}

const startStandalone: StartServed = async (t, build, options) => {
  const http = createServer((_req, res) => { res.writeHead(404).end('the rest') })
  const ds = new DatasoleServer(options)
  t.teardown(async () => { await ds.close(); http.closeAllConnections(); http.close() })
  await build({ ds, register: (plugin: never, given: never) => ds.register(plugin, given) } as never)
  ds.transport.attach(http)
  await ds.init()
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return served((http.address() as AddressInfo).port)
}

export const servedEntrances: ReadonlyArray<[name: string, start: StartServed]> = [['fastify', startFastify], ['standalone', startStandalone]]
