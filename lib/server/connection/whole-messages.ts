/**
 * The receiver of a WebSocket of `ws`: the stream that parses incoming bytes. The members except `_write` and `emit` tell
 * whether it is between two messages. They are not part of the API of `ws`.
 */
interface Receiver {
  readonly _state: number
  readonly _bufferedBytes: number
  /** The opcode of a message of which fragments have arrived, else 0. */
  readonly _fragmented: number
  /** Of the last frame. */
  readonly _opcode: number
  readonly _maxPayload: number
  readonly _allowSynchronousEvents: boolean
  _write (chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void
  emit (event: 'message', data: Buffer, isBinary: boolean): boolean
}

/** Bytes of the largest payload. For larger ones `ws` may have native code that removes the mask. */
const MAX_PAYLOAD = 1024

/** The opcode of a close frame (RFC 6455 section 5.5.1): `ws` ignores what comes after it. */
const CLOSE = 8

/**
 * Takes small messages that arrive whole, before the receiver of the socket parses them. The receiver makes six views of
 * the bytes for each message, and they cost more than dispatch. It still gets everything else: fragments, control frames,
 * compressed and broken frames. A receiver with other members than expected parses all messages itself.
 */
export function takeWholeMessages (socket: object): void {
  const { _receiver: receiver } = socket as { _receiver?: Receiver }
  if (receiver !== undefined && isBetweenMessages(receiver) && receiver._allowSynchronousEvents && receiver._maxPayload >= 0) receiver._write = write
}

function isBetweenMessages ({ _state, _bufferedBytes, _fragmented, _opcode }: Receiver): boolean {
  return _state === 0 && _bufferedBytes === 0 && _fragmented === 0 && _opcode !== CLOSE
}

/** One function for all receivers, as a closure for each would be held by idle connections. */
function write (this: Receiver, chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
  const at = isBetweenMessages(this) ? emitWhole(this, chunk) : 0
  if (at === chunk.length) done()
  else (Object.getPrototypeOf(this) as Receiver)._write.call(this, at === 0 ? chunk : chunk.subarray(at), encoding, done)
}

/** @returns the offset of the first frame that is left to the receiver */
function emitWhole (receiver: Receiver, chunk: Buffer): number {
  const max = receiver._maxPayload === 0 ? MAX_PAYLOAD : Math.min(receiver._maxPayload, MAX_PAYLOAD)
  let at = 0
  // final, binary, not compressed (RFC 6455 section 5.2); 8 bytes are the larger of the headers
  while (chunk.length - at > 8 && chunk[at] === 0x82) {
    // negative if it is not masked
    const short = chunk[at + 1]! - 0x80
    const length = short === 126 ? chunk.readUInt16BE(at + 2) : short
    const start = at + (short === 126 ? 8 : 6)
    const end = start + length
    if (short === 127 || length <= 0 || length > max || end > chunk.length) break
    unmask(chunk, start, end)
    receiver.emit('message', chunk.subarray(start, end), true)
    at = end
  }
  return at
}

/** The mask is before the payload (section 5.3). */
function unmask (chunk: Buffer, start: number, end: number): void {
  const a = chunk[start - 4]!
  const b = chunk[start - 3]!
  const c = chunk[start - 2]!
  const d = chunk[start - 1]!
  if ((a | b | c | d) === 0) return
  let i = start
  // four at a time: half of the time of a loop over bytes
  for (; i + 3 < end; i += 4) {
    chunk[i]! ^= a
    chunk[i + 1]! ^= b
    chunk[i + 2]! ^= c
    chunk[i + 3]! ^= d
  }
  for (; i < end; i++) chunk[i]! ^= chunk[start - 4 + ((i - start) & 3)]!
}
