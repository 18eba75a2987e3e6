import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { StateBackend } from '../../lib/backend/backend.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { DatasoleServer, type DatasoleServerOptions } from '../../plugins/server.js'
import { capturedLogger } from './entrances.js'
import { type ConnectOptions, type V1Client, type Wire, connect, connectV1 } from './wire.js'

interface Test { teardown (fn: () => unknown): void }

export interface Node {
  ds: DatasoleServer
  url: string
  logs: string[]
  connect (options?: ConnectOptions): Promise<Wire>
  connectV1 (options?: ConnectOptions): Promise<V1Client>
}

export interface NodeOptions extends DatasoleServerOptions {
  prepare?: (ds: DatasoleServer) => unknown
}

/** A server without sockets: enough where only its state is looked at. */
export async function storeNode (t: Test, options: DatasoleServerOptions = {}): Promise<DatasoleServer & { logs: string[] }> {
  const logs: string[] = []
  const ds = Object.assign(new DatasoleServer({ logger: capturedLogger(logs), ...options }), { logs })
  t.teardown(() => ds.close())
  await ds.init()
  return ds
}

/** One process's part of a cluster: servers that share a backend are nodes of one. */
export async function node (t: Test, { prepare, ...options }: NodeOptions = {}): Promise<Node> {
  const logs: string[] = []
  const ds = new DatasoleServer({ logger: capturedLogger(logs), ...options })
  const http = createServer()
  await prepare?.(ds)
  ds.transport.attach(http)
  await ds.init()
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const url = `ws://127.0.0.1:${(http.address() as AddressInfo).port}/__ds`
  const sockets: Array<Wire['socket']> = []
  t.teardown(async () => {
    for (const socket of sockets) socket.terminate()
    await ds.close()
    http.closeAllConnections()
    await new Promise((resolve) => http.close(resolve))
  })
  return {
    ds,
    url,
    logs,
    async connect (given) {
      const wire = await connect(url, given)
      sockets.push(wire.socket)
      return wire
    },
    async connectV1 (given) {
      const client = await connectV1(url, given)
      sockets.push(client.wire.socket)
      return client
    }
  }
}

/** Nodes that share a MemoryBackend, or `backends`, one each. */
export async function cluster (t: Test, count: number, options: NodeOptions = {}, backends: StateBackend[] = []): Promise<Node[]> {
  const shared = new MemoryBackend()
  const nodes = []
  for (let i = 0; i < count; i++) nodes.push(await node(t, { stateBackend: backends[i] ?? shared, ...options }))
  return nodes
}
