import { constants, inflateSync } from 'node:zlib'
import { readCompact } from '../protocol/compact.js'
import { HEADER_SIZE, ZLIB_MAGIC, readUint32 } from '../protocol/frame.js'
import { Opcode } from '../protocol/opcodes.js'
import { topMember } from '../server/connection/top-member.js'

/** A frame in the form that a tail shows. */
export interface DecodedFrame { opcode: string, id: number, text: string, isCut: boolean }

/** Maximum number of shown characters of a payload. */
const SHOWN = 2048
/** Bytes of a frame to search for its key, which is near the beginning. */
const LOOKED_AT = 16 * 1024
/** Bytes of a compressed frame to inflate. If COMPRESSED bytes inflate to more than INFLATED, only DENSE bytes are used. */
const COMPRESSED = 16 * 1024
const DENSE = 512
const INFLATED = 1024 * 1024

/** First byte of a final, binary WebSocket message (RFC 6455 section 5.2). */
const BINARY = 0x82

const NAMES = new Map<number, string>(Object.entries(Opcode).map(([name, opcode]) => [opcode, name]))

/** The (beginning of the) frame in a WebSocket message of the server; undefined for a ping or a close. */
export function frameOf (message: Buffer): Buffer | undefined {
  if (message[0] !== BINARY) return undefined
  const length = message[1]!
  const frame = message.subarray(length < 126 ? 2 : length === 126 ? 4 : 10)
  const plain = frame[0] === ZLIB_MAGIC ? inflateBeginning(frame, COMPRESSED) ?? inflateBeginning(frame, DENSE) : frame
  return plain === undefined || (plain.length < HEADER_SIZE && !isCompact(plain)) ? undefined : plain
}

function inflateBeginning (frame: Buffer, size: number): Buffer | undefined {
  try {
    return inflateSync(frame.subarray(0, size), { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: INFLATED })
  } catch {
    return undefined // it inflates to more than INFLATED
  }
}

/** Use it only for frames of the server, because clients may send any bytes. */
function isCompact ([opcode]: Buffer): boolean {
  return opcode === Opcode.EVENT_COMPACT || opcode === Opcode.PATCH_COMPACT
}

/**
 * The member `key` of a frame's payload, if it is near the beginning. For a compact patch, the number of the key.
 * @param isSent whether the server sent the frame
 */
export function keyOf (frame: Buffer, isSent: boolean): string | number | undefined {
  if (isSent && isCompact(frame)) return frame[0] === Opcode.PATCH_COMPACT ? readCompact(frame).first : undefined
  return topMember(frame.subarray(HEADER_SIZE, HEADER_SIZE + LOOKED_AT), 'key')
}

/**
 * Decodes a frame for display. It never shows a token.
 * @param isSent whether the server sent the frame
 */
export function decode (frame: Buffer, isSent: boolean): DecodedFrame {
  const opcode = frame[0]!
  if (isSent && isCompact(frame)) return decodeCompact(frame)
  const size = readUint32(frame, 5)
  const isSecret = opcode === Opcode.AUTH
  // a UTF-8 character has at most four bytes
  const text = isSecret ? '(a token, which is not shown)' : frame.toString('utf8', HEADER_SIZE, HEADER_SIZE + SHOWN * 4)
  return {
    opcode: NAMES.get(opcode) ?? `0x${opcode.toString(16).padStart(2, '0')}`,
    id: readUint32(frame, 1),
    text: text.slice(0, SHOWN),
    isCut: !isSecret && (text.length > SHOWN || size > frame.length - HEADER_SIZE)
  }
}

/** Decodes a compact frame. The text starts with the number of the event or key. */
function decodeCompact (frame: Buffer): DecodedFrame {
  const { first: n, second, json } = readCompact(frame)
  const about = frame[0] === Opcode.PATCH_COMPACT ? { n, versions: second } : { n, ms: second }
  const text = `${JSON.stringify(about)} ${Buffer.from(json.buffer, json.byteOffset, Math.min(json.length, SHOWN * 4)).toString()}`
  return { opcode: NAMES.get(frame[0]!)!, id: 0, text: text.slice(0, SHOWN), isCut: text.length > SHOWN || json.length > SHOWN * 4 }
}
