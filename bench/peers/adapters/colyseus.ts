import { createServer, request } from 'node:http'
import { type Item, Kind, type Peer, type Protocol, type Value, load } from '../peer.js'
import { frame } from '../raw-socket.js'

interface RoomBase { setState (state: object): void, broadcast (type: string, data: unknown): void, broadcastPatch (): boolean, onMessage (type: string, handler: (client: unknown, message: unknown) => unknown): void, state: State, patchRate: number | null, autoDispose: boolean, clients: unknown[] }
interface State { records: Item[] }
interface Core { Server: new (options: object) => { define (name: string, room: unknown): void, listen (port: number, host: string, backlog: number): Promise<unknown> }, Room: new () => RoomBase }
interface Decoder { state: object, decode (bytes: Uint8Array, it: { offset: number }): unknown }
interface Schema { Reflection: { decode (bytes: Uint8Array): Decoder }, decode: { number (bytes: Uint8Array, it: { offset: number }): number } }
type Define = (fields: object, name: string) => new () => object
interface Types { number (): object, string (): object, boolean (): object, array (of: unknown): object }

/** One room with everybody in it; its state is a schema, and `broadcastPatch` sends a change at once. */
export async function start (): Promise<Peer> {
  const { Server, Room } = await load<Core>('@colyseus/core')
  const { WebSocketTransport } = await load<{ WebSocketTransport: new (options: object) => unknown }>('@colyseus/ws-transport')
  const { schema, t, Encoder } = await load<{ schema: Define, t: Types, Encoder: { BUFFER_SIZE: number } }>('@colyseus/schema')
  Encoder.BUFFER_SIZE = 256 * 1024 // it asks for that when a state does not fit
  const Record = schema({ id: t.number(), name: t.string(), email: t.string(), score: t.number(), seen: t.number(), active: t.boolean() }, 'Record')
  const Records = schema({ records: t.array(Record) }, 'Records')
  let room!: RoomBase
  class Everyone extends Room {
    onCreate (): void {
      room = this
      this.autoDispose = false
      this.patchRate = null
      this.onMessage('echo', (_client, message) => message)
    }
  }
  const http = createServer()
  const server = new Server({ transport: new WebSocketTransport({ server: http }), greet: false, gracefullyShutdown: false })
  server.define('everyone', Everyone)
  await server.listen(0, '127.0.0.1', 10_000)
  const port = (http.address() as { port: number }).port
  return {
    port,
    broadcast: (data) => { room.broadcast('tick', data) },
    state: {
      create (_key, value) {
        const state = new Records() as State
        for (const item of (value as Value).records) state.records.push(Object.assign(new Record(), item) as Item)
        room.setState(state)
      },
      update (_key, index, n) {
        const record = room.state.records[index]!
        record.score = n
        record.seen = n
        room.broadcastPatch()
      }
    }
  }
}

/** A seat is reserved by HTTP, then taken by WebSocket. */
async function reserve (port: number): Promise<string> {
  const answer = await new Promise<string>((resolve, reject) => {
    const post = request({ port, host: '127.0.0.1', path: '/matchmake/joinOrCreate/everyone', method: 'POST', headers: { 'content-type': 'application/json' } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part) => { text += part }).on('end', () => { resolve(text) })
    })
    post.on('error', reject).end('{}')
  })
  const { processId, roomId, sessionId } = JSON.parse(answer) as Record<'processId' | 'roomId' | 'sessionId', string>
  if (sessionId === undefined) throw new Error(answer)
  return `/${processId}/${roomId}?sessionId=${sessionId}`
}

const JOINED = frame(Buffer.from([10]))
/** `echo` as a string and `{text: 'hello', n: …}` without its number, in MessagePack. */
const CALL = Buffer.concat([Buffer.from([0xa4]), Buffer.from('echo'), Buffer.from([0x82, 0xa4]), Buffer.from('text'), Buffer.from([0xa5]), Buffer.from('hello'), Buffer.from([0xa1]), Buffer.from('n')])

export const protocol: Protocol = {
  path: reserve,
  isReadyWhenOpen: false,
  read (head, start, _end, socket) {
    switch (head[start]) {
      case 10:
        socket.send(JOINED)
        return Kind.READY
      case 13: return Kind.EVENT
      case 14: return Kind.SNAPSHOT
      case 15: return Kind.PATCH
      case 22: return Kind.REPLY
      default: return Kind.CONTROL
    }
  },
  echo: (id) => frame(Buffer.concat([Buffer.from([21, id]), CALL, Buffer.from([id])])),
  async reader (to) {
    const { Reflection, decode } = await load<Schema>('@colyseus/schema')
    const { unpack } = await load<{ unpack: (bytes: Buffer) => unknown }>('msgpackr')
    let decoder: Decoder
    return (bytes) => {
      switch (bytes[0]) {
        case 10: { // token, serializer, then the types of the state
          const at = 2 + bytes[1]!
          const it = { offset: at + 1 + bytes[at]! }
          const length = decode.number(bytes, it)
          if (length > 0) decoder = Reflection.decode(bytes.subarray(it.offset, it.offset + length))
          break
        }
        case 13: return to.event(unpack(bytes.subarray(6)))
        case 14:
        case 15:
          decoder.decode(bytes, { offset: 1 })
          return to.value('state', decoder.state)
        case 22: return to.reply(bytes[1]!, unpack(bytes.subarray(3)))
      }
    }
  }
}
