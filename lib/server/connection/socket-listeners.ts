import type { ConnectionHost } from './connection-host.js'
import type { Connection } from './connection.js'
import type { ServerSocket } from './server-socket.js'
import { takeWholeMessages } from './whole-messages.js'

const CONNECTION = Symbol('datasole.connection')

/** The state that the listeners of a server share. */
interface ListenersHost extends Pick<ConnectionHost, 'metrics' | 'log'> {
  /** Called before `ended`, which waits for frames that were received. */
  readonly slots: { leave (connection: Connection): void }
}

interface OwnedSocket extends ServerSocket {
  [CONNECTION]?: Connection
  /** A private member of `ws`: how many unsent pongs end a connection. Older releases have no such bound. */
  readonly _maxPendingAutoPongs?: number
}

/** The listeners that all sockets of a server share. A set for each would be a tenth of an idle connection's memory. */
export class SocketListeners {
  readonly #message: (this: OwnedSocket, data: Buffer, isBinary: boolean) => void
  readonly #close: (this: OwnedSocket, code: number) => void
  readonly #error: (this: OwnedSocket, error: Error) => void

  constructor (host: ListenersHost, message: (connection: Connection, data: Buffer, isBinary: boolean) => void, ended: (connection: Connection, code: number) => void) {
    this.#message = function (data, isBinary) { message(this[CONNECTION]!, data, isBinary) }
    this.#close = function (code) {
      host.slots.leave(this[CONNECTION]!)
      ended(this[CONNECTION]!, code)
    }
    this.#error = function (error) {
      // ws itself answers a broken WebSocket frame with a close code
      host.metrics.badFrames++
      host.log.debug({ err: error, connectionId: this[CONNECTION]!.id }, 'a socket failed')
    }
  }

  listen (socket: OwnedSocket, connection: Connection): void {
    socket[CONNECTION] = connection
    takeWholeMessages(socket)
    socket.on('message', this.#message)
    socket.on('close', this.#close)
    socket.on('error', this.#error)
    // a fourth listener takes 100 bytes, so only sockets that do not bound their pongs have one
    if ((socket._maxPendingAutoPongs ?? 0) <= 0) socket.on('ping', pinged)
  }
}

function pinged (this: OwnedSocket): void {
  this[CONNECTION]!.pinged()
}
