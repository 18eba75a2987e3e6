import { Facade } from '../scope/facade.js'
import type { Hub } from './hub.js'

/** `ds.transport`: the open sockets of this node. */
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
