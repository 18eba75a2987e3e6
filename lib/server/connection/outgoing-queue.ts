import type { Duplex } from 'node:stream'

/** Up to this size, frames are joined into one write. Above it, copying costs more than a vectored write. */
const JOIN_LIMIT = 64 * 1024

/** Frames that wait to be written to a socket, in order. */
export class OutgoingQueue {
  /** Bytes that wait. */
  size = 0
  #waiting: Buffer[] = []

  push (bytes: Buffer): void {
    this.#waiting.push(bytes)
    this.size += bytes.length
  }

  clear (): void {
    if (this.size === 0) return
    this.#waiting = []
    this.size = 0
  }

  /** Writes all frames, in one system call if the socket takes them. */
  writeTo (socket: Duplex): void {
    const waiting = this.#waiting
    const { size } = this
    this.clear()
    if (size === 0 || !socket.writable) return
    if (waiting.length === 1 || size <= JOIN_LIMIT) {
      socket.write(waiting.length === 1 ? waiting[0]! : Buffer.concat(waiting, size))
    } else {
      socket.cork()
      for (const bytes of waiting) socket.write(bytes)
      socket.uncork()
    }
  }
}
