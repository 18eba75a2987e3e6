import { type Frame, decodeFrame, encodeFrame } from '../protocol/frame.js'

/** `Uint8Array<ArrayBuffer>`, spelled for compilers before TypeScript 5.7. */
export type Bytes = ReturnType<Uint8ArrayConstructor['of']>

export interface Message extends Pick<Frame, 'opcode' | 'correlationId'> { payload: unknown }

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** A frame, not deflated. */
export function encode (opcode: number, correlationId: number, json: string): Bytes {
  return encodeFrame(opcode, correlationId, encoder.encode(json)) as Bytes
}

/**
 * @param frame not deflated
 * @throws if the bytes are no frame of JSON
 */
export function decode (frame: Uint8Array): Message {
  const { opcode, correlationId, payload } = decodeFrame(frame)
  return { opcode, correlationId, payload: JSON.parse(decoder.decode(payload)) }
}
