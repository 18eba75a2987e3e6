import { coded } from './errors.js'

/** Bytes of a frame's header: opcode (1), correlation id (4) and payload length (4), big-endian. */
export const HEADER_SIZE = 9

/** First byte of a zlib stream with a 32 KiB window (RFC 1950 section 2.2): the frame is compressed. */
export const ZLIB_MAGIC = 0x78

export interface Frame {
  opcode: number
  correlationId: number
  /** A view into the frame, not a copy. */
  payload: Uint8Array
}

/** Writes the nine bytes of a frame's header at `offset`. */
export function writeHeader (target: Uint8Array, offset: number, opcode: number, correlationId: number, length: number): void {
  target[offset] = opcode
  target[offset + 1] = correlationId >>> 24
  target[offset + 2] = correlationId >>> 16
  target[offset + 3] = correlationId >>> 8
  target[offset + 4] = correlationId
  target[offset + 5] = length >>> 24
  target[offset + 6] = length >>> 16
  target[offset + 7] = length >>> 8
  target[offset + 8] = length
}

/** Reads an unsigned 32-bit big-endian integer. */
export function readUint32 (bytes: Uint8Array, offset: number): number {
  return ((bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!) >>> 0
}

/** Whether the declared payload length of an uncompressed frame is its actual length. */
export function isWellFormed (bytes: Uint8Array): boolean {
  return bytes.length >= HEADER_SIZE && readUint32(bytes, 5) === bytes.length - HEADER_SIZE
}

/** Encodes an uncompressed frame: header and payload. */
export function encodeFrame (opcode: number, correlationId: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_SIZE + payload.length)
  writeHeader(frame, 0, opcode, correlationId, payload.length)
  frame.set(payload, HEADER_SIZE)
  return frame
}

/**
 * Splits an uncompressed frame into its fields.
 * @throws RangeError `BAD_FRAME` if the declared payload length is not the actual length
 */
export function decodeFrame (bytes: Uint8Array): Frame {
  if (!isWellFormed(bytes)) throw coded(new RangeError('frame is truncated, or its declared length is wrong'), 'BAD_FRAME')
  return { opcode: bytes[0]!, correlationId: readUint32(bytes, 1), payload: bytes.subarray(HEADER_SIZE) }
}
