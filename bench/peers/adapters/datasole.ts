import { createServer } from 'node:http'
import { encodeFrame } from '../../../lib/protocol/frame.js'
import { Opcode, SUBPROTOCOL } from '../../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../../plugins/server.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type PeerOptions, type Protocol, type Value } from '../peer.js'
import { frame } from '../raw-socket.js'

export async function start ({ redis }: PeerOptions): Promise<Peer> {
  const http = createServer()
  const ds = new DatasoleServer({ rateLimit: false, ...redis !== undefined && { backendConfig: { type: 'redis', redis: { url: redis } } } })
  ds.rpc.register('echo', (params) => params)
  ds.transport.attach(http)
  await ds.init()
  const { live, fanout } = ds.primitives
  return {
    port: await listen(http),
    broadcast: (data) => { fanout.broadcast('tick', data) },
    state: {
      create: (key, value) => live.setState(key, value),
      update: (key, index, n) => live.update(key, (draft) => {
        const record = (draft as Value).records[index]!
        record.score = n
        record.seen = n
      }),
      replace: (key, value) => live.setState(key, value)
    }
  }
}

const message = (opcode: number, id: number, body: object): Uint8Array => frame(encodeFrame(opcode, id, Buffer.from(JSON.stringify(body))))
const kinds: Record<number, Kind> = {
  [Opcode.WELCOME]: Kind.READY,
  [Opcode.EVENT_S2C]: Kind.EVENT,
  [Opcode.RPC_RES]: Kind.REPLY,
  [Opcode.STATE_PATCH]: Kind.PATCH,
  [Opcode.STATE_SNAPSHOT]: Kind.SNAPSHOT,
  0x78: Kind.SNAPSHOT // compressed, as events and snapshots above 1 KiB are: the scenario knows which
}

export const protocol: Protocol = {
  path: '/__ds',
  subprotocol: SUBPROTOCOL,
  isReadyWhenOpen: false,
  read (head, start, end, socket) {
    const kind = kinds[head[start]!] ?? Kind.CONTROL
    if (kind === Kind.PATCH) {
      const [, epoch, from, version] = /"epoch":"([^"]*)","from":(\d+),"version":(\d+)/.exec(head.toString('latin1', start + 9, Math.min(end, start + 200)))!
      socket.covers = Number(version) - Number(from)
      socket.token = epoch!
      socket.position = version!
    }
    return kind
  },
  echo: (id) => message(Opcode.RPC_REQ, id, { method: 'echo', params: { text: 'hello', n: 1 }, correlationId: id }),
  subscribe: (key, socket, isBack) => [message(Opcode.SUBSCRIBE, 1, isBack ? { key, epoch: socket.token, version: Number(socket.position) } : { key })]
}
