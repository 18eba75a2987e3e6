import type { Duplex } from 'node:stream'
import { Answers, messageSize } from './answers.js'

/** Up to this size, frames are joined into one write. Above it, copying costs more than a vectored write. */
const JOIN_LIMIT = 64 * 1024

/** Frames that wait to be written to a socket, in order. It exists from the first frame until all is written. */
export class OutgoingQueue {
  /** Bytes that wait. */
  size = 0
  readonly #waiting: Buffer[] = []
  /** Small messages at the end of the queue that are not encoded yet. */
  #answers: Answers | undefined

  /** Adds a small message. @param length bytes of the payload */
  answer (opcode: number, correlationId: number, json: string, length: number): void {
    const answers = this.#answers ??= new Answers()
    answers.add(opcode, correlationId, json, length)
    this.size += messageSize(length)
    if (answers.size > JOIN_LIMIT) this.#encode()
  }

  push (bytes: Buffer): void {
    this.#encode()
    this.#waiting.push(bytes)
    this.size += bytes.length
  }

  #encode (): void {
    if (this.#answers === undefined) return
    this.#waiting.push(this.#answers.encode())
    this.#answers = undefined
  }

  /** Writes all frames, in one system call if the socket takes them. */
  writeTo (socket: Duplex): void {
    this.#encode()
    const waiting = this.#waiting
    const { size } = this
    if (!socket.writable) return
    if (waiting.length === 1 || size <= JOIN_LIMIT) {
      socket.write(waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting, size))
    } else {
      socket.cork()
      for (const bytes of waiting) socket.write(bytes)
      socket.uncork()
    }
  }
}
