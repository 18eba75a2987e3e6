import { createServer } from 'node:http'
import { HandState } from '../by-hand.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type Protocol, load } from '../peer.js'
import { frame } from '../raw-socket.js'

interface RpcServer {
  register (name: string, method: (params: never) => unknown): void
  event (name: string): void
  emit (name: string, ...params: unknown[]): void
}

/** JSON-RPC calls; events and state are its notifications. */
export async function start (): Promise<Peer> {
  const module = await load<{ Server: new (options: object) => RpcServer }>('rpc-websockets')
  const http = createServer()
  const server = new module.Server({ server: http, perMessageDeflate: false })
  server.register('echo', (params) => params)
  server.event('tick')
  const state = await HandState.make((key, patches) => { server.emit(`s:${key}`, patches) })
  server.register('value', ([key]: [string]) => state.values.get(key))
  const create = state.create.bind(state)
  state.create = (key, value) => {
    if (!state.values.has(key)) server.event(`s:${key}`)
    create(key, value)
  }
  return { port: await listen(http), broadcast: (data) => { server.emit('tick', data) }, state }
}

/** Ids of calls for a value, below those of `echo`. */
const VALUES = 100

const call = (method: string, params: unknown, id: number): Uint8Array => frame(JSON.stringify({ jsonrpc: '2.0', method, params, id }))

export const protocol: Protocol = {
  path: '/',
  isReadyWhenOpen: false,
  hello: () => [call('rpc.on', ['tick'], 1)],
  read (head, start, end) {
    const text = head.toString('latin1', start, Math.min(end, start + 64))
    if (text.startsWith('{"notification":"tick"')) return Kind.EVENT
    if (text.startsWith('{"notification"')) return Kind.PATCH
    const id = Number(/"id":(\d+)\}$/.exec(head.toString('latin1', start, end))?.[1])
    if (id === 1) return Kind.READY
    if (id >= 1000) return Kind.REPLY
    // the answer to `value`, of which the id is at the end
    return id < VALUES ? Kind.CONTROL : Kind.SNAPSHOT
  },
  echo: (id) => call('echo', { text: 'hello', n: id }, 1000 + id),
  subscribe: (key, { keys }) => [call('rpc.on', [`s:${key}`], 2), call('value', [key], VALUES + keys.push(key) - 1)],
  reader: async (to, { keys }) => (bytes) => {
    const { notification, params, id = 0, result } = JSON.parse(bytes.toString()) as { notification?: string, params: object, id?: number, result: unknown }
    if (notification === 'tick') to.event(params)
    else if (notification !== undefined) to.patch(notification.slice(2), params as object[])
    else if (id >= 1000) to.reply(id - 1000, result)
    else if (id >= VALUES) to.value(keys[id - VALUES]!, result)
  }
}
