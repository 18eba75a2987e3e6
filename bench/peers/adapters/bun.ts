import { HandState } from '../by-hand.js'
import { type Peer, type PeerOptions, type Protocol } from '../peer.js'
import { openRelay } from '../relay.js'
import { protocol as json } from './ws.js'

interface BunSocket { send (data: string): number, subscribe (topic: string): void }
interface BunServer { port: number, publish (topic: string, data: string): number, upgrade (request: unknown): boolean }
declare const Bun: { serve (options: object): BunServer }

/** Runs in Bun: its own server, whose topics are what its documentation recommends for fan-out. */
export async function start ({ redis }: PeerOptions): Promise<Peer> {
  const state = await HandState.make((key, patches) => { server.publish(key, JSON.stringify({ key, patches })) })
  const server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    fetch: (request: unknown, server: BunServer) => server.upgrade(request) ? undefined : new Response('', { status: 400 }),
    websocket: {
      perMessageDeflate: false,
      backpressureLimit: 64 * 2 ** 20,
      open (socket: BunSocket) { socket.subscribe('tick') },
      message (socket: BunSocket, text: string) {
        const message = JSON.parse(text) as { id: number, params: unknown, key?: string }
        if (message.key === undefined) return socket.send(JSON.stringify({ id: message.id, result: message.params }))
        socket.subscribe(message.key)
        socket.send(state.snapshot(message.key, (value) => JSON.stringify({ key: message.key, value })))
      }
    }
  })
  const send = (data: unknown): void => { server.publish('tick', JSON.stringify({ event: 'tick', data })) }
  return { port: server.port, broadcast: redis === undefined ? send : await openRelay(redis, send), state }
}

export const protocol: Protocol = json
