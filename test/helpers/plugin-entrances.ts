import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Fastify, { type FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import datasole from '../../index.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../plugins/server.js'
import { type Wire, connect } from './wire.js'

/** What both entrances offer to register plugins with. */
export type Registrar = Pick<FastifyInstance, 'register' | 'ds'>

/** Builds and starts a server on port 0, which is closed at the test's end; resolves to how clients connect. */
export type StartWithPlugins = (t: Test, build: (app: Registrar) => unknown, options?: DatasoleServerOptions) => Promise<() => Promise<Wire>>

const OPTIONS: DatasoleServerOptions = { rateLimit: { defaultRule: { windowMs: 60_000, maxRequests: 1000 } } }

const startFastify: StartWithPlugins = async (t, build, options = OPTIONS) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, options)
  await build(app)
  const url = await app.listen({ port: 0 })
  return async () => await connect(`${url.replace('http', 'ws')}/__ds`)
}

const startStandalone: StartWithPlugins = async (t, build, options = OPTIONS) => {
  const http = createServer()
  const ds = new DatasoleServer(options)
  t.teardown(async () => { await ds.close(); http.close() })
  await build({ ds, register: (plugin: never, given: never) => ds.register(plugin, given) } as never)
  ds.transport.attach(http)
  await ds.init()
  http.listen(0)
  await once(http, 'listening')
  return async () => await connect(`ws://127.0.0.1:${(http.address() as AddressInfo).port}/__ds`)
}

/** The two ways into a server, with plugins. */
export const pluginEntrances: ReadonlyArray<[name: string, start: StartWithPlugins]> = [['fastify', startFastify], ['standalone', startStandalone]]
