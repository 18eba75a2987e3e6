import { isUtf8 } from 'node:buffer'
import { HEADER_SIZE } from '../../protocol/frame.js'
import { exceedsDepth } from './json-depth.js'

/** Thrown for a frame that is refused. The message says why. */
export class BadFrame extends Error {
  constructor (message: string, readonly code: 'BAD_FRAME' | 'PAYLOAD_TOO_LARGE' = 'BAD_FRAME') {
    super(message)
  }
}

/** Most characters of a key or an epoch. */
const MAX_NAME = 8 * 1024

export type Members = Record<string, unknown>

/**
 * Parses the payload of a frame. The payload's own object does not count: `maxDepth` limits the values in it.
 * @throws BadFrame
 */
export function parsePayload (frame: Buffer, maxDepth: number): Members {
  return parseMembers(textOf(frame, maxDepth, HEADER_SIZE))
}

/**
 * The text of a payload.
 * @param start of the payload in the bytes
 * @throws BadFrame if the payload is not UTF-8, or is nested too deep
 */
export function textOf (bytes: Buffer, maxDepth: number, start = 0): string {
  const text = bytes.toString('utf8', start)
  // U+FFFD stands for bytes that are not UTF-8, unless the client has sent that character
  if (text.includes('\ufffd') && !isUtf8(bytes.subarray(start))) throw new BadFrame('the payload is not UTF-8')
  if (exceedsDepth(bytes, maxDepth + 1, start)) throw new BadFrame(`the payload is nested deeper than ${maxDepth} levels`)
  return text
}

/** @throws BadFrame */
export function parseMembers (json: string): Members {
  let value: unknown
  try {
    value = JSON.parse(json)
  } catch {
    throw new BadFrame('the payload is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BadFrame('the payload is not an object')
  return value as Members
}

/** @throws BadFrame */
export function requireString (value: unknown, name: string): string {
  if (typeof value !== 'string') throw new BadFrame(`the member "${name}" is not a string`)
  return value
}

/**
 * A string of bounded length, because the server stores it and sends it back.
 * @throws BadFrame
 */
export function requireName (value: unknown, name: string): string {
  const text = requireString(value, name)
  if (text.length > MAX_NAME) throw new BadFrame(`the member "${name}" is longer than ${MAX_NAME} characters`)
  return text
}
