import type { Duplex } from 'node:stream'
import type { Connection } from './connection.js'

/** One object per socket and no closure, because there may be very many. */
interface Slot { address: string, connection: Connection | undefined }

/** Counts sockets against the limits: connections, and upgrades in progress. */
export class Slots {
  readonly #slots = new Map<Duplex, Slot>()
  readonly #byAddress = new Map<string, number>()
  readonly #closed: (this: Duplex) => void

  /**
   * @param limit most sockets
   * @param limitPerAddress most sockets of one address
   */
  constructor (readonly limit: number, readonly limitPerAddress: number) {
    const slots = this
    this.#closed = function () { slots.#free(this) }
  }

  /** Takes a slot, or returns false if there is none. The slot is freed when the socket closes, in any case. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#slots.size >= this.limit || ofAddress >= this.limitPerAddress || socket.destroyed) return false
    this.#slots.set(socket, { address, connection: undefined })
    this.#byAddress.set(address, ofAddress + 1)
    socket.on('close', this.#closed)
    return true
  }

  /** Records the connection that the socket has become. */
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
