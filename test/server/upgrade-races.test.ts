import type { IncomingMessage } from 'node:http'
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import fp from 'fastify-plugin'
import t from 'tap'
import type { WebSocket, WebSocketServer } from 'ws'
import type { DatasoleServer } from '../../plugins/server.js'
import { entrances } from '../helpers/entrances.js'
import { randomOf, seed } from '../helpers/random.js'
import { tcp, upgradeRequest } from '../helpers/raw.js'
import { type Wire, refusal } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const MAX = 30

for (const [entrance, start] of entrances) {
  t.test(`upgrade races, ${entrance}: however an upgrade ends, its slot is free and onDisconnect ran once for who was let in (SEED=${seed})`, async (t) => {
    const random = randomOf(seed)
    const turns = async (most: number): Promise<void> => { for (let i = random(most); i > 0; i--) await setImmediate() }
    let isRandom = true
    const ends: Array<(socket: WebSocket, raw: IncomingMessage) => void> = [
      (socket) => { socket.close() },
      (socket) => { socket.terminate() },
      (_socket, raw) => { raw.socket.destroy() },
      // Fastify would leave the socket to the application
      () => { if (entrance === 'standalone') throw new Error('a listener failed') }
    ]
    const interfere = (server: WebSocketServer): void => {
      server.on('connection', (socket, raw) => { if (isRandom) ends[random(12)]?.(socket, raw) })
    }
    const running = await start(t, {
      maxConnections: MAX,
      maxConnectionsPerAddress: MAX,
      closeTimeoutMs: 100,
      prepare: (ds, _server, app) => {
        if (app === undefined) (ds as DatasoleServer).register(fp(async ({ websocketServer }: FastifyInstance) => { interfere(websocketServer) }))
        else interfere(app.websocketServer)
      }
    })
    const { ds, port, url } = running
    const letIn: string[] = []
    const left: string[] = []
    const hooks: Array<(userId: string) => unknown> = [
      () => { throw new Error('no') },
      async () => { await turns(30); throw new Error('no') },
      () => turns(30),
      (userId) => { ds.disconnectUser(userId, { code: 4000, reason: 'out' }) }
    ]
    ds.addHook('onConnect', ({ userId }) => isRandom ? hooks[random(8)]?.(userId!) as undefined : undefined)
    ds.addHook('onConnect', ({ connectionId }) => { letIn.push(connectionId) })
    ds.addHook('onDisconnect', ({ connectionId }) => { left.push(connectionId) })
    for (let round = 0; round < 15; round++) {
      await Promise.all(Array.from({ length: MAX - 5 }, async () => {
        const socket = await tcp(port)
        socket.resume()
        socket.write(upgradeRequest('/__ds', random(8) === 0 ? { 'Sec-WebSocket-Key': 'short' } : {}))
        await turns(10)
        if (random(2) === 0) socket.resetAndDestroy()
        else socket.destroy()
      }))
    }
    await until(() => ds.transport.getConnectionCount() === 0 && left.length >= letIn.length)
    t.strictSame(left.sort(), letIn.sort())
    t.ok(letIn.length > MAX)
    isRandom = false
    const wires: Wire[] = []
    while (wires.length < MAX) await until(() => running.connect().then((wire) => wires.push(wire), () => false))
    t.equal((await refusal(url)).status, 503)
  })
}
