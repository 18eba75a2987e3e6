import { type Socket, connect } from 'node:net'
import { Kind, type Protocol } from './peer.js'

/** Of a message that is longer, only the first bytes are looked at. */
const WHOLE = 4096

/** One for all sockets: what arrives is read before the next read. */
const shared = Buffer.allocUnsafeSlow(256 * 1024)

/** Called for every message that is not about the connection itself. */
export type OnMessage = (socket: RawSocket, kind: Kind) => void

/** A WebSocket client without masks, events and copies, so that the load generator costs less than any server. */
export class RawSocket {
  static onMessage: OnMessage = () => {}
  /** Called for a connection that ends unasked. */
  static onLost: () => void = () => {}
  /** Whether a protocol has to keep `token` and `position`, which may cost it something. */
  static isRecovering = false
  readonly protocol: Protocol
  readonly #socket: Socket
  #rest: Buffer | undefined
  #skip = 0
  #kind: Kind = Kind.CONTROL
  #isOpen = false
  #isEnding = false
  #ready: (() => void) | undefined
  #out: Uint8Array[] = []
  /** Bytes that came, from the first one on. */
  bytes = 0
  /** Updates that the message carries, where a peer may join several. */
  covers = 1
  /** Whatever a scenario counts. */
  count = 0
  /** When each unanswered call left. */
  readonly calls: number[] = []
  nextId = 0
  /** State of a protocol that it needs to recover. */
  token = ''
  position: string | number = ''
  /** Keys that were subscribed to, in order, and how many of them have no answer yet. */
  readonly keys: string[] = []
  pending = 0
  /** All that came, where it is read as a whole afterwards. */
  #log: Buffer[] | undefined

  constructor (protocol: Protocol, port: number, path: string, ready: () => void) {
    this.protocol = protocol
    this.#ready = ready
    const lost = (): void => { if (!this.#isEnding) RawSocket.onLost() }
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true, onread: { buffer: shared, callback: (count) => { this.#read(count); return true } } })
    this.#socket.on('error', lost).on('close', lost)
    const offer = protocol.subprotocol === undefined ? '' : `Sec-WebSocket-Protocol: ${protocol.subprotocol}\r\n`
    this.#socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${offer}\r\n`)
  }

  /** Frames; those that a read leads to leave together. */
  send (...frames: Uint8Array[]): void {
    if (this.#out.length === 0) process.nextTick(() => { this.#flush() })
    this.#out.push(...frames)
  }

  #flush (): void {
    const out = this.#out
    this.#out = []
    this.#socket.write(out.length === 1 ? out[0]! : Buffer.concat(out))
  }

  /** From the beginning on: to be called before anything came. */
  keepLog (): void {
    this.#log = []
  }

  /** Messages that came, each as a whole. */
  * messages (): Generator<Buffer> {
    const bytes = Buffer.concat(this.#log!)
    for (let at = bytes.indexOf('\r\n\r\n') + 4; at < bytes.length;) {
      let length = bytes[at + 1]! & 127
      let start = at + 2
      if (length === 126) {
        length = bytes.readUInt16BE(start)
        start += 2
      } else if (length === 127) {
        length = bytes.readUInt32BE(start + 4)
        start += 8
      }
      const isMessage = (bytes[at]! & 15) <= 2
      at = start + length
      if (isMessage) yield bytes.subarray(start, at)
    }
  }

  destroy (): void {
    this.#isEnding = true
    this.#socket.destroy()
  }

  #read (count: number): void {
    this.bytes += count
    this.#log?.push(Buffer.from(shared.subarray(0, count)))
    let chunk: Buffer = shared
    let end = count
    if (this.#rest !== undefined) {
      chunk = Buffer.concat([this.#rest, shared.subarray(0, count)])
      end = chunk.length
      this.#rest = undefined
    }
    const at = this.#isOpen ? this.#frames(chunk, 0, end) : this.#upgraded(chunk, end)
    if (at < end) this.#rest = Buffer.from(chunk.subarray(at, end))
  }

  #upgraded (chunk: Buffer, end: number): number {
    const at = chunk.subarray(0, end).indexOf('\r\n\r\n')
    if (at < 0) return 0
    if (!chunk.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) throw new Error(`refused: ${chunk.toString('utf8', 0, end)}`)
    this.#isOpen = true
    const hello = this.protocol.hello?.(this)
    if (hello !== undefined) this.send(...hello)
    if (this.protocol.isReadyWhenOpen) this.#becomeReady()
    return this.#frames(chunk, at + 4, end)
  }

  /** Returns where the first frame begins that is not there yet. */
  #frames (chunk: Buffer, at: number, end: number): number {
    while (at < end) {
      if (this.#skip > 0) {
        const taken = Math.min(this.#skip, end - at)
        this.#skip -= taken
        at += taken
        if (this.#skip === 0) this.#message(this.#kind)
        continue
      }
      if (end - at < 2) return at
      let start = at + 2
      let length = chunk[at + 1]! & 127
      if (length === 126) {
        if (end - at < 4) return at
        length = chunk.readUInt16BE(at + 2)
        start = at + 4
      } else if (length === 127) {
        if (end - at < 10) return at
        length = chunk.readUInt32BE(at + 6)
        start = at + 10
      }
      if (end - start < Math.min(length, WHOLE)) return at
      const opcode = chunk[at]! & 15
      at = start + length
      if (opcode === 9) this.send(frame(chunk.subarray(start, at), 10))
      if (opcode > 2) continue
      this.#kind = this.protocol.read(chunk, start, Math.min(at, end), this, opcode)
      if (at > end) {
        this.#skip = at - end
        return end
      }
      this.#message(this.#kind)
    }
    return at
  }

  #message (kind: Kind): void {
    if (kind === Kind.CONTROL) return
    if (kind === Kind.READY) this.#becomeReady()
    else RawSocket.onMessage(this, kind)
  }

  #becomeReady (): void {
    this.#ready?.()
    this.#ready = undefined
  }
}

/** A client's frame. Its mask is zero, which changes nothing (RFC 6455 section 5.3). */
export function frame (payload: Uint8Array | string, opcode = typeof payload === 'string' ? 1 : 2): Uint8Array {
  const bytes = Buffer.from(payload as string)
  const size = bytes.length < 126 ? 6 : 8
  const result = Buffer.alloc(size + bytes.length)
  result[0] = 0x80 | opcode
  if (size === 6) result[1] = 0x80 | bytes.length
  else {
    result[1] = 0x80 | 126
    result.writeUInt16BE(bytes.length, 2)
  }
  bytes.copy(result, size)
  return result
}
