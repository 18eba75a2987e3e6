import { readCompact } from '../protocol/compact.js'
import { type Frame, decodeFrame, encodeFrame } from '../protocol/frame.js'
import { Opcode } from '../protocol/opcodes.js'

/** `Uint8Array<ArrayBuffer>`, in a form that compilers before TypeScript 5.7 accept. */
export type Bytes = ReturnType<Uint8ArrayConstructor['of']>

export interface Message extends Pick<Frame, 'opcode' | 'correlationId'> { payload: unknown }

/** The payload of a compact frame: its two numbers, and its parsed JSON (undefined if it has none). */
export interface Compact { first: number, second: number, data: unknown }

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** Encodes an uncompressed frame. */
export function encode (opcode: number, correlationId: number, json: string): Bytes {
  return encodeFrame(opcode, correlationId, encoder.encode(json)) as Bytes
}

/**
 * Decodes a frame.
 * @param frame uncompressed
 * @returns `payload` is `Compact` for the opcodes of compact frames
 * @throws if the bytes are not a frame with JSON
 */
export function decode (frame: Uint8Array): Message {
  if (frame[0] === Opcode.EVENT_COMPACT || frame[0] === Opcode.PATCH_COMPACT) {
    const { first, second, json } = readCompact(frame)
    return { opcode: frame[0], correlationId: 0, payload: { first, second, data: json.length === 0 ? undefined : parse(json) } satisfies Compact }
  }
  const { opcode, correlationId, payload } = decodeFrame(frame)
  return { opcode, correlationId, payload: parse(payload) }
}

function parse (json: Uint8Array): unknown {
  return JSON.parse(decoder.decode(json))
}
