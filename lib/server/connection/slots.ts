import type { Duplex } from 'node:stream'
import type { Connection } from './connection.js'

/** The sockets of connections, and of those that are still to be authenticated. */
export class Slots {
  readonly #sockets = new Map<Duplex, Connection | undefined>()
  readonly #byAddress = new Map<string, number>()

  constructor (readonly limit: number, readonly limitPerAddress: number) {}

  /** Given back when the socket closes, whatever becomes of the upgrade. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#sockets.size >= this.limit || ofAddress >= this.limitPerAddress || socket.destroyed) return false
    this.#sockets.set(socket, undefined)
    this.#byAddress.set(address, ofAddress + 1)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      const left = this.#byAddress.get(address)! - 1
      if (left === 0) this.#byAddress.delete(address)
      else this.#byAddress.set(address, left)
    })
    return true
  }

  /** It has become a connection. */
  occupy (socket: Duplex, connection: Connection): void {
    if (this.#sockets.has(socket)) this.#sockets.set(socket, connection)
  }

  at (socket: Duplex): Connection | undefined {
    return this.#sockets.get(socket)
  }
}
