import type { Duplex } from 'node:stream'

/** Up to here several messages are joined and written as one; above, copying costs more than a vectored write. */
const JOIN_LIMIT = 64 * 1024

/** What waits to be written to a socket, in order. */
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

  /** Writes all of it: in one system call, where the socket takes it. */
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
