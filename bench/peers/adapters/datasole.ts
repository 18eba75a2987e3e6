import { createServer } from 'node:http'
import { constants, inflateSync } from 'node:zlib'
import { expandOperations, readCompact } from '../../../lib/protocol/compact.js'
import { ZLIB_MAGIC, decodeFrame, encodeFrame } from '../../../lib/protocol/frame.js'
import type { Operation } from '../../../lib/protocol/messages.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../../plugins/server.js'
import { listen } from '../listen.js'
import { Kind, type Peer, type PeerOptions, type Protocol, type Value } from '../peer.js'
import { RawSocket, frame } from '../raw-socket.js'

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

const request = (opcode: number, id: number, body: object): Uint8Array => frame(encodeFrame(opcode, id, Buffer.from(JSON.stringify(body))))
const kinds: Record<number, Kind> = {
  [Opcode.WELCOME]: Kind.READY,
  [Opcode.EVENT_S2C]: Kind.EVENT,
  [Opcode.RPC_RES]: Kind.REPLY,
  [Opcode.STATE_PATCH]: Kind.PATCH,
  [Opcode.EVENT_COMPACT]: Kind.EVENT,
  [Opcode.PATCH_COMPACT]: Kind.PATCH,
  [Opcode.STATE_SNAPSHOT]: Kind.SNAPSHOT
}

/** A frame is compressed above 1 KiB. Its first bytes are inflated only where nothing else says what it is. */
function readCompressed (frame: Buffer, socket: RawSocket): Kind {
  if (socket.keys.length === 0) return Kind.EVENT
  if (socket.pending > 0 && !RawSocket.isRecovering) {
    socket.pending--
    return Kind.SNAPSHOT
  }
  return readPlain(inflateSync(frame.subarray(0, 2048), { finishFlush: constants.Z_SYNC_FLUSH }), socket)
}

function readPlain (frame: Buffer, socket: RawSocket): Kind {
  const kind = kinds[frame[0]!] ?? Kind.CONTROL
  if (frame[0] === Opcode.PATCH_COMPACT) {
    const { second } = readCompact(frame)
    socket.covers = second
    socket.position = Number(socket.position) + second
  } else if (kind === Kind.PATCH || kind === Kind.SNAPSHOT) {
    const [, epoch, from, version] = /"epoch":"([^"]*)",(?:"from":(\d+),)?"version":(\d+)/.exec(frame.toString('latin1', 0, 256))!
    if (frame.readUInt32BE(1) !== 0) socket.pending--
    socket.covers = Number(version) - Number(from ?? version)
    socket.token = epoch!
    socket.position = Number(version)
  }
  return kind
}

export const protocol: Protocol = {
  path: '/__ds',
  subprotocol: 'datasole.v3',
  isReadyWhenOpen: false,
  recovers: true,
  read (head, start, end, socket) {
    const frame = head.subarray(start, end)
    return frame[0] === ZLIB_MAGIC ? readCompressed(frame, socket) : readPlain(frame, socket)
  },
  echo: (id) => request(Opcode.RPC_REQ, id, { method: 'echo', params: { text: 'hello', n: id }, correlationId: id }),
  subscribe (key, socket, isBack) {
    socket.keys.push(key)
    socket.pending++
    return [request(Opcode.SUBSCRIBE, 1, isBack ? { key, epoch: socket.token, version: socket.position } : { key })]
  },
  async reader (to) {
    const names = new Map<number, string>()
    const keys = new Map<number, string>()
    const follow = (key: string, from: number, version: number, epoch: string, operations: Operation[]): void => {
      const position = to.positions.get(key)
      if (position?.epoch !== epoch || position.version !== from) throw new Error(`a patch from ${epoch} ${from}, on ${JSON.stringify(position)}`)
      position.version = version
      to.patch(key, operations)
    }
    return (bytes) => {
      const frame = bytes[0] === ZLIB_MAGIC ? inflateSync(bytes) : bytes
      if (frame[0] === Opcode.EVENT_COMPACT || frame[0] === Opcode.PATCH_COMPACT) {
        const { first, second, json } = readCompact(frame)
        const content = JSON.parse(Buffer.from(json).toString()) as unknown
        if (frame[0] === Opcode.EVENT_COMPACT) return onEvent(names.get(first), content)
        const key = keys.get(first)!
        const { epoch, version } = to.positions.get(key)!
        return follow(key, version, version + second, epoch, expandOperations(content as unknown[]))
      }
      const content = JSON.parse(Buffer.from(decodeFrame(frame).payload).toString()) as { event: string, data: unknown, key: string, epoch: string, from: number, version: number, n?: number, patches: Operation[], correlationId: number, result: unknown }
      switch (frame[0]) {
        case Opcode.EVENT_S2C:
          if (content.n !== undefined) names.set(content.n, content.event)
          return onEvent(content.event, content.data)
        case Opcode.RPC_RES: return to.reply(content.correlationId, content.result)
        case Opcode.STATE_SNAPSHOT:
        case Opcode.STATE_PATCH:
          if (content.n !== undefined) keys.set(content.n, content.key)
          if (frame[0] === Opcode.STATE_PATCH) return follow(content.key, content.from, content.version, content.epoch, content.patches)
          to.positions.set(content.key, { epoch: content.epoch, version: content.version })
          return to.value(content.key, content.data)
      }
    }
    function onEvent (name: string | undefined, data: unknown): void {
      if (name !== 'tick') throw new Error(`an event with the name ${name}`)
      to.event(data)
    }
  }
}
