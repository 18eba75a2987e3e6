import { HEADER_SIZE, writeHeader } from '../../protocol/frame.js'
import { webSocketHeaderSize, writeWebSocketHeader } from './encoding.js'

/** Small messages to one client that leave together. Their text is encoded in one step, with room for the headers. */
export class Answers {
  /** Bytes of the messages. */
  size = 0
  #text = ''
  /** Of each: opcode, correlation id, bytes of the payload. */
  readonly #fields: number[] = []

  /** @param length bytes of the payload */
  add (opcode: number, correlationId: number, json: string, length: number): void {
    this.#text += blanksFor(length) + json
    this.size += messageSize(length)
    this.#fields.push(opcode, correlationId, length)
  }

  encode (): Buffer {
    const messages = Buffer.allocUnsafe(this.size)
    // where every character is one byte, V8 copies instead of encoding
    messages.write(this.#text, 0, this.size, this.#text.length === this.size ? 'latin1' : 'utf8')
    const fields = this.#fields
    let offset = 0
    for (let i = 0; i < fields.length; i += 3) {
      const length = fields[i + 2]!
      const end = offset + messageSize(length)
      writeWebSocketHeader(messages, HEADER_SIZE + length, offset)
      writeHeader(messages, end - length - HEADER_SIZE, fields[i]!, fields[i + 1]!, length)
      offset = end
    }
    return messages
  }
}

/** Bytes of the largest payload. For a larger one, a buffer of its own costs less than another copy of the text. */
const MAX_PAYLOAD = 1024

/**
 * Whether a message may be encoded together with others.
 * @param length bytes of the payload
 * @param threshold bytes of a frame above which it is compressed
 */
export function isSmall (length: number, threshold: number): boolean {
  return length <= MAX_PAYLOAD && HEADER_SIZE + length <= threshold
}

/** Bytes of a message, WebSocket header included. */
export function messageSize (length: number): number {
  return webSocketHeaderSize(HEADER_SIZE + length) + HEADER_SIZE + length
}

/** A character for each byte of a small message's headers, and of a larger one's. */
const SMALL = '\0'.repeat(2 + HEADER_SIZE)
const LARGE = '\0'.repeat(4 + HEADER_SIZE)

function blanksFor (length: number): string {
  return webSocketHeaderSize(HEADER_SIZE + length) === 2 ? SMALL : LARGE
}
