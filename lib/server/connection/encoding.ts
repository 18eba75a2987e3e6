import { varintSize, writeVarint } from '../../protocol/compact.js'
import { HEADER_SIZE, ZLIB_MAGIC, writeHeader } from '../../protocol/frame.js'
import { deflate } from './deflate.js'

/**
 * Encodes a frame for the wire: the WebSocket header (RFC 6455 section 5.2; a server does not mask), then the datasole
 * frame, deflated if it is over `threshold` bytes and gets smaller. Any number of sockets can share the buffer.
 */
export function encodeMessage (opcode: number, correlationId: number, json: string, threshold: number): Buffer {
  const length = Buffer.byteLength(json)
  const size = HEADER_SIZE + length
  const offset = webSocketHeaderSize(size)
  const message = Buffer.allocUnsafe(offset + size)
  writeWebSocketHeader(message, size)
  writeHeader(message, offset, opcode, correlationId, length)
  // if every character is one byte, V8 copies the string instead of encoding it
  if (length === json.length) message.write(json, offset + HEADER_SIZE, length, 'latin1')
  else message.write(json, offset + HEADER_SIZE, length, 'utf8')
  return deflatedAbove(threshold, message, offset)
}

/** As `encodeMessage`, for a compact frame: opcode, two varints, JSON. */
export function encodeCompact (opcode: number, first: number, second: number, json: string, threshold: number): Buffer {
  const size = 1 + varintSize(first) + varintSize(second) + Buffer.byteLength(json)
  const offset = webSocketHeaderSize(size)
  const message = Buffer.allocUnsafe(offset + size)
  writeWebSocketHeader(message, size)
  message[offset] = opcode
  message.write(json, writeVarint(message, writeVarint(message, offset + 1, first), second), 'utf8')
  return deflatedAbove(threshold, message, offset)
}

function deflatedAbove (threshold: number, message: Buffer, offset: number): Buffer {
  const size = message.length - offset
  if (size <= threshold) return message
  const deflated = deflate(message.subarray(offset))
  return deflated.length < size ? Buffer.concat([webSocketHeader(deflated.length), deflated]) : message
}

/**
 * A payload that is sent under several correlation ids. It is encoded and deflated only once.
 *
 * A frame is compressed together with its header, which contains the correlation id. So its zlib stream (RFC 1950)
 * is assembled from two parts (RFC 1951): the header as a stored block, then the compressed blocks of the payload,
 * which are the same for all ids.
 */
export class SharedPayload {
  readonly #opcode: number
  readonly #payload: Buffer
  /** The payload as a zlib stream; null if compression does not make it smaller. */
  #deflated: Buffer | null | undefined
  readonly #threshold: number
  #uncorrelated: readonly Buffer[] | undefined

  constructor (opcode: number, json: string, threshold: number) {
    this.#opcode = opcode
    this.#payload = Buffer.from(json)
    this.#threshold = threshold
  }

  /** Bytes of the payload before compression. */
  get size (): number { return this.#payload.length }

  /** The message for a correlation id. A large payload is a separate piece, which all messages share. */
  message (correlationId: number): readonly Buffer[] {
    if (correlationId !== 0) return this.#encode(correlationId)
    return (this.#uncorrelated ??= this.#encode(0))
  }

  #encode (correlationId: number): readonly Buffer[] {
    const header = Buffer.allocUnsafe(HEADER_SIZE)
    writeHeader(header, 0, this.#opcode, correlationId, this.#payload.length)
    const stream = this.#stream()
    const [before, body, after] = stream === null
      ? [[header], this.#payload, []]
      : [[STORED_HEADER, header], stream.subarray(2, -4), [checksum(header, stream, this.#payload.length)]]
    const pieces = [webSocketHeader(sizeOf(before) + body.length + sizeOf(after)), ...before]
    return body.length < MIN_PIECE ? [Buffer.concat([...pieces, body, ...after])] : [Buffer.concat(pieces), body, ...after]
  }

  #stream (): Buffer | null {
    if (this.#deflated === undefined) {
      const size = this.#payload.length
      const stream = size + HEADER_SIZE > this.#threshold ? deflate(this.#payload) : null
      this.#deflated = stream !== null && stream.length + STORED_HEADER.length < size ? Buffer.from(stream) : null
    }
    return this.#deflated
  }
}

/** Least size (bytes) of a payload that is a separate piece. Smaller payloads are copied after their headers. */
const MIN_PIECE = 16 * 1024

/** zlib header (deflate, 32 KiB window, fastest), then the header of a stored block of nine bytes, not the last one. */
const STORED_HEADER = Buffer.from([ZLIB_MAGIC, 0x01, 0x00, HEADER_SIZE, 0, ~HEADER_SIZE & 0xff, 0xff])

/**
 * Adler-32 (RFC 1950 section 8.2) of header and payload. The payload's checksum is at the end of its zlib stream. The
 * two are combined, so the payload is not read again.
 */
function checksum (header: Buffer, payloadStream: Buffer, payloadSize: number): Buffer {
  const MOD = 65521
  let a = 1
  let b = 0
  for (const byte of header) b += (a += byte)
  b += payloadStream.readUInt16BE(payloadStream.length - 4) + (payloadSize % MOD) * (a - 1)
  a += payloadStream.readUInt16BE(payloadStream.length - 2) - 1
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt16BE(b % MOD, 0)
  bytes.writeUInt16BE(a % MOD, 2)
  return bytes
}

export function sizeOf (pieces: readonly Buffer[]): number {
  let size = 0
  for (const { length } of pieces) size += length
  return size
}

/** Whole messages, by their array of pieces. */
const wholes = new WeakMap<readonly Buffer[], Buffer>()

/** A message in one buffer. The same pieces return the same buffer. */
export function joined (pieces: readonly Buffer[]): Buffer {
  if (pieces.length === 1) return pieces[0]!
  let whole = wholes.get(pieces)
  if (whole === undefined) wholes.set(pieces, whole = Buffer.concat(pieces))
  return whole
}

function webSocketHeader (size: number): Buffer {
  const header = Buffer.allocUnsafe(webSocketHeaderSize(size))
  writeWebSocketHeader(header, size)
  return header
}

export function webSocketHeaderSize (size: number): number {
  return size < 126 ? 2 : size < 65536 ? 4 : 10
}

/** Bytes on the wire of a client's message of this size. Clients mask, which takes four more bytes. */
export function receivedSize (size: number): number {
  return webSocketHeaderSize(size) + 4 + size
}

export function writeWebSocketHeader (message: Buffer, size: number, at = 0): void {
  message[at] = 0x82 // final fragment, binary
  if (size < 126) {
    message[at + 1] = size
  } else if (size < 65536) {
    message[at + 1] = 126
    message.writeUInt16BE(size, at + 2)
  } else {
    message[at + 1] = 127
    message.writeUInt32BE(Math.floor(size / 2 ** 32), at + 2)
    message.writeUInt32BE(size >>> 0, at + 6)
  }
}
