import { Transform, type TransformCallback } from 'node:stream'
import { inflateSync } from 'node:zlib'
import { HEADER_SIZE, ZLIB_MAGIC, readUint32 } from '../../protocol/frame.js'

/** A decoded frame of the server. */
export interface ServerFrame {
  /** 0 for a ping. */
  opcode: number
  correlationId: number
  /** JSON in UTF-8. */
  payload: Buffer
  /** The message that had only this frame. All receivers of a publication share it. Absent if several were joined. */
  message?: Buffer
}

/** The first byte of a WebSocket ping. */
const PING = 0x89

/**
 * The stream below a connection that has no WebSocket. It takes the bytes that the connection writes, and emits the
 * text that `take` returns for each frame. If nobody reads the text, the stream fills up, and the connection treats it
 * as a peer that reads too slowly.
 */
export class FrameStream extends Transform {
  /** Counts writes that the reader has taken. If it does not grow, the heartbeat takes the peer for silent. */
  bytesRead = 0
  /** Text to emit after the last frame. */
  farewell = ''
  readonly #take: (frame: ServerFrame) => string | undefined

  /** @param take returns the text for a frame; must not throw */
  constructor (take: (frame: ServerFrame) => string | undefined) {
    super()
    this.#take = take
  }

  override _transform (chunk: Buffer, _encoding: string, done: TransformCallback): void {
    this.bytesRead++
    let text = ''
    for (let at = 0; at < chunk.length;) {
      const start = at + headerSizeOf(chunk, at)
      const end = start + sizeOf(chunk, at)
      const message = at === 0 && end === chunk.length ? chunk : undefined
      text += this.#take(chunk[at] === PING ? { opcode: 0, correlationId: 0, payload: chunk.subarray(end) } : frameOf(chunk.subarray(start, end), message)) ?? ''
      at = end
    }
    if (text === '') done()
    else done(null, text)
  }

  override _flush (done: TransformCallback): void {
    done(null, this.farewell)
  }
}

function frameOf (data: Buffer, message: Buffer | undefined): ServerFrame {
  const frame = data[0] === ZLIB_MAGIC ? inflateSync(data) : data
  return { opcode: frame[0]!, correlationId: readUint32(frame, 1), payload: frame.subarray(HEADER_SIZE), message }
}

/** Size of the header of a WebSocket frame that is not masked (RFC 6455 section 5.2). */
function headerSizeOf (chunk: Buffer, at: number): number {
  const length = chunk[at + 1]!
  return length < 126 ? 2 : length === 126 ? 4 : 10
}

function sizeOf (chunk: Buffer, at: number): number {
  const length = chunk[at + 1]!
  return length < 126 ? length : length === 126 ? chunk.readUInt16BE(at + 2) : Number(chunk.readBigUInt64BE(at + 2))
}
