import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocket } from 'ws'
import { LiveClient } from '../lib/client/client.js'
import { DatasoleServer } from '../plugins/server.js'

const CLIENTS = 5000

/** The reconnects of all clients of a server. */
export interface Herd { how: string, elapsed: number, /** Most connections in 100 ms. */ peak: number, cpu: number }

/** Restarts a server under 5,000 clients that all run in this process, and follows when they are back. */
export async function herd (): Promise<Herd[]> {
  let port = 0
  const arrivals: number[] = []
  const start = async (): Promise<() => Promise<void>> => {
    const http = createServer()
    const ds = new DatasoleServer({ rateLimit: false })
    ds.transport.attach(http)
    await ds.init()
    ds.addHook('onConnect', () => { arrivals.push(performance.now()) })
    http.listen(port, '127.0.0.1', 10_000)
    await once(http, 'listening')
    port = (http.address() as AddressInfo).port
    return async () => {
      await ds.close()
      http.closeAllConnections()
      http.close()
    }
  }
  let close = await start()
  const clients = Array.from({ length: CLIENTS }, () => new LiveClient({ url: `http://127.0.0.1:${port}`, webSocket: WebSocket as never, onError () {} }))
  for (let i = 0; i < CLIENTS; i += 100) await Promise.all(clients.slice(i, i + 100).map((client) => client.connect()))
  const figures: Herd[] = []
  for (const [how, pause] of [['at once', 0], ['after 5 s', 5000]] as const) {
    await close()
    await new Promise((resolve) => setTimeout(resolve, pause))
    arrivals.length = 0
    close = await start()
    const began = performance.now()
    const before = process.cpuUsage()
    while (clients.some((client) => client.getConnectionState() !== 'connected')) await new Promise((resolve) => setTimeout(resolve, 20))
    const { user, system } = process.cpuUsage(before)
    const slots = new Map<number, number>()
    for (const time of arrivals) slots.set(Math.floor(time / 100), (slots.get(Math.floor(time / 100)) ?? 0) + 1)
    figures.push({ how, elapsed: performance.now() - began, peak: Math.max(...slots.values()), cpu: (user + system) / 1000 })
  }
  await Promise.all(clients.map((client) => client.disconnect()))
  await close()
  return figures
}
