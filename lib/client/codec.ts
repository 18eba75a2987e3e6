import { Unzlib, zlibSync } from 'fflate'
import { DatasoleError } from '../protocol/errors.js'
import { type Frame, ZLIB_MAGIC, decodeFrame, encodeFrame } from '../protocol/frame.js'

/** `Uint8Array<ArrayBuffer>`, spelled for compilers before TypeScript 5.7. */
export type Bytes = ReturnType<Uint8ArrayConstructor['of']>

export interface Message extends Pick<Frame, 'opcode' | 'correlationId'> { payload: unknown }

/** Bytes from which on frames are deflated, if that makes them smaller. */
const THRESHOLD = 1024
/** Most bytes that a frame may inflate to. */
const MAX_INFLATED = 64 * 1024 * 1024
/** Compressed bytes inflated between two checks of that bound. */
const PIECE = 16 * 1024

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export function encode (opcode: number, correlationId: number, json: string): Bytes {
  const frame = encodeFrame(opcode, correlationId, encoder.encode(json))
  const deflated = frame.length < THRESHOLD ? frame : zlibSync(frame)
  // sockets refuse shared memory; neither array is in it
  return (deflated.length < frame.length ? deflated : frame) as Bytes
}

/** @throws if the bytes are no frame of JSON */
export function decode (data: ArrayBuffer): Message {
  const bytes = new Uint8Array(data)
  const { opcode, correlationId, payload } = decodeFrame(bytes[0] === ZLIB_MAGIC ? inflate(bytes) : bytes)
  return { opcode, correlationId, payload: JSON.parse(decoder.decode(payload)) }
}

function inflate (bytes: Uint8Array): Uint8Array {
  const chunks: Uint8Array[] = []
  let size = 0
  const stream = new Unzlib((chunk) => {
    size += chunk.length
    chunks.push(chunk)
  })
  for (let i = 0; i < bytes.length; i += PIECE) {
    stream.push(bytes.subarray(i, i + PIECE), i + PIECE >= bytes.length)
    if (size > MAX_INFLATED) throw new DatasoleError('PAYLOAD_TOO_LARGE', `a frame inflates to more than ${MAX_INFLATED} bytes`)
  }
  if (chunks.length === 1) return chunks[0]!
  const whole = new Uint8Array(size)
  let offset = 0
  for (const chunk of chunks) {
    whole.set(chunk, offset)
    offset += chunk.length
  }
  return whole
}
