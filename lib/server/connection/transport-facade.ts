import { Facade } from '../scope/facade.js'
import type { Hub } from './hub.js'

/** `ds.transport`: sockets, as far as server code sees them. */
export class TransportFacade<S> extends Facade<S> {
  readonly #hub: Hub

  constructor (hub: Hub, server: S) {
    super(server)
    this.#hub = hub
  }

  /** Open connections on this node. */
  getConnectionCount (): number {
    return this.#hub.size
  }
}
