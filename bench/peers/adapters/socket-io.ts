import { createServer } from 'node:http'
import { Redis } from 'ioredis'
import { HandState } from '../by-hand.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type PeerOptions, type Protocol, load } from '../peer.js'
import { frame } from '../raw-socket.js'

interface IoSocket {
  recovered: boolean
  on (event: string, handler: (...args: never[]) => void): void
  emit (event: string, ...args: unknown[]): void
  join (room: string): void
}
interface Io {
  on (event: 'connection', handler: (socket: IoSocket) => void): void
  emit (event: string, ...args: unknown[]): void
  to (room: string): { emit (event: string, ...args: unknown[]): void }
  engine: { on (event: 'connection', handler: (socket: { request: unknown }) => void): void }
}

/** By its page "Performance tuning": the WebSocket transport only, `ws` with bufferutil, the request of the upgrade let go. */
export async function start ({ redis, recovery }: PeerOptions): Promise<Peer> {
  const { Server } = await load<{ Server: new (http: unknown, options: object) => Io }>('socket.io')
  const http = createServer()
  const io = new Server(http, {
    transports: ['websocket'],
    perMessageDeflate: false,
    httpCompression: false,
    serveClient: false,
    ...recovery && { connectionStateRecovery: {} },
    ...redis !== undefined && { adapter: await redisAdapter(redis) }
  })
  io.engine.on('connection', (socket) => { socket.request = null })
  const state = await HandState.make((key, patches) => { io.to(key).emit('state', key, patches) })
  io.on('connection', (socket) => {
    socket.on('echo', (params: unknown, reply: (result: unknown) => void) => { reply(params) })
    socket.on('subscribe', (key: string) => {
      socket.join(key)
      socket.emit('value', key, state.values.get(key))
    })
  })
  return { port: await listen(http), broadcast: (data) => { io.emit('tick', data) }, state }
}

async function redisAdapter (url: string): Promise<unknown> {
  const { createAdapter } = (await load<{ default: { createAdapter: (publisher: Redis, subscriber: Redis) => unknown } }>('@socket.io/redis-adapter')).default
  return createAdapter(new Redis(url), new Redis(url))
}

const PONG = frame('3')

/** Packets of Engine.IO (the first digit) and Socket.IO (the second). */
export const protocol: Protocol = {
  path: '/socket.io/?EIO=4&transport=websocket',
  isReadyWhenOpen: false,
  hello: ({ token, position }) => [frame(token === '' ? '40' : `40${JSON.stringify({ pid: token, offset: position })}`)],
  read (head, start, end, socket) {
    if (head[start] === 50) socket.send(PONG)
    if (head[start] !== 52) return Kind.CONTROL
    if (head[start + 1] === 48) { // CONNECT
      socket.token = /"pid":"([^"]*)"/.exec(head.toString('latin1', start, end))?.[1] ?? ''
      return Kind.READY
    }
    if (head[start + 1] === 51) return Kind.REPLY // ACK
    if (head[start + 4] === 116) return Kind.EVENT // tick
    if (head[start + 4] === 118) return Kind.SNAPSHOT // value
    if (socket.token !== '') socket.position = /"([^"]*)"\]$/.exec(head.toString('latin1', start, end))?.[1] ?? ''
    return Kind.PATCH
  },
  echo: (id) => frame(`42${id}["echo",{"text":"hello","n":${id}}]`),
  recovers: true,
  // one that came back is in its rooms, and has got what it missed
  subscribe: (key, _socket, isBack) => isBack ? [] : [frame(`42${JSON.stringify(['subscribe', key])}`)],
  reader: async (to) => (bytes) => {
    const [, type, id, json] = /^4(\d)(\d*)(.*)$/.exec(bytes.toString()) ?? []
    if (type === '3') to.reply(Number(id), (JSON.parse(json!) as unknown[])[0])
    if (type !== '2') return
    const [event, first, second] = JSON.parse(json!) as [string, unknown, unknown]
    if (event === 'tick') to.event(first)
    else if (event === 'value') to.value(first as string, second)
    else to.patch(first as string, second as object[])
  }
}
