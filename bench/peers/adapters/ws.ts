import { createServer } from 'node:http'
import type { Socket } from 'node:net'
import { HandState } from '../by-hand.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type PeerOptions, type Protocol, load } from '../peer.js'
import { openRelay } from '../relay.js'
import { frame } from '../raw-socket.js'

interface Ws extends NodeJS.EventEmitter { _socket: Socket, send (data: string): void }
interface WsModule {
  WebSocketServer: new (options: object) => NodeJS.EventEmitter & { clients: Set<Ws> }
  Sender: { frame: (data: Buffer, options: object) => Buffer[] }
}

export async function start (options: PeerOptions): Promise<Peer> {
  const { Sender } = await ws()
  return await serve(options, Sender, (socket, bytes) => { socket._socket.write(bytes) })
}

export async function ws (): Promise<WsModule> {
  return await load<WsModule>('ws')
}

/** The least that the same job needs: JSON, and a frame that is built once and written to each socket. */
export async function serve ({ redis }: PeerOptions, Sender: WsModule['Sender'], write: (socket: Ws, bytes: Buffer) => void): Promise<Peer> {
  const { WebSocketServer } = await ws()
  const http = createServer()
  const wss = new WebSocketServer({ server: http, perMessageDeflate: false, clientTracking: true })
  const subscribers = new Map<string, Set<Ws>>()
  const build = (message: object): Buffer => Buffer.concat(Sender.frame(Buffer.from(JSON.stringify(message)), { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false }))
  const state = await HandState.make((key, patches) => {
    const bytes = build({ key, patches })
    for (const socket of subscribers.get(key) ?? []) write(socket, bytes)
  })
  wss.on('connection', (socket: Ws) => {
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { id: number, params: unknown, key?: string }
      if (message.key === undefined) return write(socket, build({ id: message.id, result: message.params }))
      let set = subscribers.get(message.key)
      if (set === undefined) subscribers.set(message.key, set = new Set())
      set.add(socket)
      write(socket, state.snapshot(message.key, (value) => build({ key: message.key, value })))
    })
    socket.on('close', () => { for (const set of subscribers.values()) set.delete(socket) })
  })
  const send = (data: unknown): void => {
    const bytes = build({ event: 'tick', data })
    for (const socket of wss.clients) write(socket, bytes)
  }
  return { port: await listen(http), broadcast: redis === undefined ? send : await openRelay(redis, send), state }
}

export const protocol: Protocol = {
  path: '/',
  isReadyWhenOpen: true,
  read: readJson,
  echo: (id) => frame(JSON.stringify({ id, method: 'echo', params: { text: 'hello', n: id } })),
  subscribe: (key) => [frame(JSON.stringify({ key }))],
  reader: async (to) => (bytes) => {
    const message = JSON.parse(bytes.toString()) as { event?: string, data: unknown, id?: number, result: unknown, key: string, patches?: object[], value: unknown }
    if (message.event === 'tick') to.event(message.data)
    else if (message.id !== undefined) to.reply(message.id, message.result)
    else if (message.patches !== undefined) to.patch(message.key, message.patches)
    else to.value(message.key, message.value)
  }
}

/** By the first letter of the first member, of a message as `ws` and `bun` send it. */
export function readJson (head: Buffer, start: number, end: number): Kind {
  const letter = head[start + 2]
  if (letter === 101) return Kind.EVENT // event
  if (letter === 105) return Kind.REPLY // id
  // key: patches or value
  return head.toString('latin1', start, Math.min(end, start + 48)).includes('"patches"') ? Kind.PATCH : Kind.SNAPSHOT
}
