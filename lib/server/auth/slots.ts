import type { Duplex } from 'node:stream'
import type { Settings } from '../config/settings.js'
import type { Connection } from '../connection/connection.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { ConnectHooks } from './connect-hooks.js'
import { ABNORMAL, type PendingUpgrade } from './pending-upgrades.js'

/** A socket from its upgrade until it has become a connection or closed. */
export class Slot {
  /** Set from the authentication on. */
  upgrade: PendingUpgrade | undefined
  /** Set once the `onConnect` hooks have admitted it: an early close then runs the `onDisconnect` hooks. */
  context: ConnectionContext | undefined

  /** @param address of the client. Its connection gets the same one, by which `leave` counts */
  constructor (readonly address: string) {}
}

/**
 * Counts sockets against the limits: connections, and upgrades in progress. Only upgrades have an object and a listener
 * here. Connections are counted, because there may be very many.
 */
export class Slots {
  readonly #limit: number
  readonly #limitPerAddress: number
  readonly #hooks: ConnectHooks
  #taken = 0
  readonly #byAddress = new Map<string, number>()
  readonly #pending = new Map<Duplex, Slot>()
  readonly #closed: (this: Duplex) => void

  constructor ({ maxConnections, maxConnectionsPerAddress }: Settings, hooks: ConnectHooks) {
    this.#limit = maxConnections
    this.#limitPerAddress = maxConnectionsPerAddress
    this.#hooks = hooks
    const slots = this
    this.#closed = function () { slots.#gone(this) }
  }

  /** The sockets of upgrades in progress. */
  get pending (): Iterable<Duplex> { return this.#pending.keys() }

  /** Takes a slot, or returns false if there is none. It is freed when the socket closes or the connection ends. */
  take (socket: Duplex, address: string): boolean {
    const ofAddress = this.#byAddress.get(address) ?? 0
    if (this.#taken >= this.#limit || ofAddress >= this.#limitPerAddress || socket.destroyed) return false
    this.#taken++
    this.#byAddress.set(address, ofAddress + 1)
    this.#pending.set(socket, new Slot(address))
    socket.on('close', this.#closed)
    return true
  }

  /** Undefined if the socket has closed. */
  at (socket: Duplex): Slot | undefined {
    return this.#pending.get(socket)
  }

  /** The socket has become a connection, which frees the slot by `leave`. */
  occupy (socket: Duplex, connection: Connection): void {
    if (!this.#pending.delete(socket)) return
    socket.off('close', this.#closed)
    connection.carrier = socket
  }

  /** The connection has ended. */
  leave ({ carrier, context: { transport, remoteAddress } }: Connection): void {
    if (carrier !== undefined && transport === 'websocket') this.#free(remoteAddress)
  }

  /** A socket has closed before it became a connection. */
  #gone (socket: Duplex): void {
    const { address, upgrade, context } = this.#pending.get(socket)!
    this.#pending.delete(socket)
    this.#free(address)
    upgrade?.end()
    if (context !== undefined) this.#hooks.departed(context, ABNORMAL)
  }

  #free (address: string): void {
    this.#taken--
    const left = this.#byAddress.get(address)! - 1
    if (left === 0) this.#byAddress.delete(address)
    else this.#byAddress.set(address, left)
  }
}
