import type { Duplex } from 'node:stream'
import type { Connection } from './connection.js'

/** One object, and no closure, for each socket: there may be very many. */
interface Slot { address: string, connection: Connection | undefined }

/** The sockets of connections, and of those that are still to be authenticated. */
export class Slots {
  readonly #slots = new Map<Duplex, Slot>()
  readonly #byAddress = new Map<string, number>()
  readonly #closed: (this: Duplex) => void

  /**
   * @param limit sockets at most
   * @param limitPerAddress sockets of one address at most
   */
  constructor (readonly limit: number, readonly limitPerAddress: number) {
    const slots = this
    this.#closed = function () { slots.#free(this) }
  }

  /** Given back when the socket closes, whatever becomes of the upgrade. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#slots.size >= this.limit || ofAddress >= this.limitPerAddress || socket.destroyed) return false
    this.#slots.set(socket, { address, connection: undefined })
    this.#byAddress.set(address, ofAddress + 1)
    socket.on('close', this.#closed)
    return true
  }

  /** It has become a connection. */
  occupy (socket: Duplex, connection: Connection): void {
    const slot = this.#slots.get(socket)
    if (slot !== undefined) slot.connection = connection
  }

  at (socket: Duplex): Connection | undefined {
    return this.#slots.get(socket)?.connection
  }

  #free (socket: Duplex): void {
    const { address } = this.#slots.get(socket)!
    this.#slots.delete(socket)
    const left = this.#byAddress.get(address)! - 1
    if (left === 0) this.#byAddress.delete(address)
    else this.#byAddress.set(address, left)
  }
}
