import { createServer } from 'node:http'
import { HandState } from '../by-hand.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type Protocol, load } from '../peer.js'
import { frame } from '../raw-socket.js'

interface Request { data: unknown, end (result: unknown): void }
interface ScSocket { procedure (name: string): AsyncIterable<Request>, transmit (event: string, data: unknown): void, listener (name: string): AsyncIterable<{ channel: string }> }
interface Ag {
  exchange: { transmitPublish (channel: string, data: unknown): Promise<void> }
  listener (name: 'connection'): AsyncIterable<{ socket: ScSocket }>
}

/** Events and state are published to channels. */
export async function start (): Promise<Peer> {
  const { attach } = (await load<{ default: { attach: (http: unknown, options: object) => Ag } }>('socketcluster-server')).default
  const http = createServer()
  const server = attach(http, { path: '/socketcluster/', wsEngineServerOptions: { perMessageDeflate: false }, socketChannelLimit: 10_000 })
  const { exchange } = server
  const state = await HandState.make((key, patches) => exchange.transmitPublish(key, { patches }))
  const procedures = async (socket: ScSocket): Promise<void> => { for await (const request of socket.procedure('echo')) request.end(request.data) }
  const subscriptions = async (socket: ScSocket): Promise<void> => {
    for await (const { channel } of socket.listener('subscribe')) if (channel !== 'tick') socket.transmit('value', { key: channel, value: state.values.get(channel) })
  }
  void (async () => {
    for await (const { socket } of server.listener('connection')) {
      void procedures(socket)
      void subscriptions(socket)
    }
  })()
  return { port: await listen(http), broadcast: (data) => exchange.transmitPublish('tick', data), state }
}

const PONG = frame('')
const HELLO = [{ event: '#handshake', data: { authToken: null }, cid: 1 }, { event: '#subscribe', data: { channel: 'tick' }, cid: 2 }].map((message) => frame(JSON.stringify(message)))

export const protocol: Protocol = {
  path: '/socketcluster/',
  isReadyWhenOpen: false,
  hello: () => [HELLO[0]!],
  read (head, start, end, socket) {
    if (start === end) {
      socket.send(PONG)
      return Kind.CONTROL
    }
    const text = head.toString('latin1', start, Math.min(end, start + 96))
    if (text.startsWith('{"event":"#publish"')) return text.includes('"channel":"tick"') ? Kind.EVENT : Kind.PATCH
    if (text.startsWith('{"event":"value"')) return Kind.SNAPSHOT
    const id = Number(/"?rid"?:(\d+)/.exec(text)?.[1])
    if (id === 1) socket.send(HELLO[1]!)
    if (id === 2) return Kind.READY
    return id >= 1000 ? Kind.REPLY : Kind.CONTROL
  },
  echo: (id) => frame(JSON.stringify({ event: 'echo', data: { text: 'hello', n: id }, cid: 1000 + id })),
  subscribe: (key) => [frame(JSON.stringify({ event: '#subscribe', data: { channel: key }, cid: 3 }))],
  reader: async (to) => (bytes) => {
    if (bytes.length === 0) return
    const { event, data, rid = 0 } = JSON.parse(bytes.toString()) as { event?: string, rid?: number, data: { channel: string, data: { patches: object[] }, key: string, value: unknown } }
    if (rid >= 1000) to.reply(rid - 1000, data)
    else if (event === 'value') to.value(data.key, data.value)
    else if (event === '#publish' && data.channel === 'tick') to.event(data.data)
    else if (event === '#publish') to.patch(data.channel, data.data.patches)
  }
}
