import { createServer } from 'node:http'
import { constants, inflateSync } from 'node:zlib'
import { readCompact } from '../../../lib/protocol/compact.js'
import { encodeFrame } from '../../../lib/protocol/frame.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
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
  [Opcode.EVENT_COMPACT]: Kind.EVENT,
  [Opcode.PATCH_COMPACT]: Kind.PATCH,
  [Opcode.STATE_SNAPSHOT]: Kind.SNAPSHOT,
  0x78: Kind.SNAPSHOT // compressed, as events and snapshots above 1 KiB are: the scenario knows which
}

/** The first characters of a frame, compressed or not. */
function beginningOf (frame: Buffer): string {
  const plain = frame[0] === 0x78 ? inflateSync(frame, { finishFlush: constants.Z_SYNC_FLUSH }) : frame
  return plain.toString('latin1', 0, 256)
}

/** Those that wait for the answer to a SUBSCRIBE, which says where patches lead on from. */
const asked = new WeakSet<object>()

export const protocol: Protocol = {
  path: '/__ds',
  subprotocol: 'datasole.v3',
  isReadyWhenOpen: false,
  read (head, start, end, socket) {
    const kind = kinds[head[start]!] ?? Kind.CONTROL
    if (head[start] === Opcode.PATCH_COMPACT) {
      const { second } = readCompact(head.subarray(start, end))
      socket.covers = second
      socket.position = String(Number(socket.position) + second)
    } else if (kind === Kind.PATCH || (kind === Kind.SNAPSHOT && asked.delete(socket))) {
      const position = /"epoch":"([^"]*)",(?:"from":(\d+),)?"version":(\d+)/.exec(beginningOf(head.subarray(start, Math.min(end, start + 2048))))
      const [, epoch, from, version] = position!
      socket.covers = Number(version) - Number(from ?? version)
      socket.token = epoch!
      socket.position = version!
    }
    return kind
  },
  echo: (id) => message(Opcode.RPC_REQ, id, { method: 'echo', params: { text: 'hello', n: 1 }, correlationId: id }),
  subscribe (key, socket, isBack) {
    asked.add(socket)
    return [message(Opcode.SUBSCRIBE, 1, isBack ? { key, epoch: socket.token, version: Number(socket.position) } : { key })]
  }
}
