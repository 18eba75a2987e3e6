import { invalidArgument } from '../../protocol/errors.js'
import type { Bus, BusHandlers } from '../bus/bus.js'
import type { Hub } from '../connection/hub.js'
import type { Part } from '../lifecycle/part.js'
import { type PendingUpgrades, checkCloseReason } from './pending-upgrades.js'

/** Closes the connections of a user on every node, including upgrades in progress. */
export class Disconnects implements Part {
  readonly #hub: Hub
  readonly #pending: PendingUpgrades
  readonly #bus: () => Bus

  constructor (hub: Hub, pending: PendingUpgrades, bus: () => Bus) {
    this.#hub = hub
    this.#pending = pending
    this.#bus = bus
  }

  readonly messages: Partial<BusHandlers> = {
    disconnect: ({ userId, code, reason }) => { this.#disconnect(userId, code, reason) }
  }

  /** @throws TypeError `INVALID_ARGUMENT`; DatasoleError `INVALID_CLOSE` */
  disconnectUser (userId: string, code: number, reason: string): void {
    if (typeof userId !== 'string') throw invalidArgument('disconnectUser: the user id must be a string')
    checkCloseReason({ code, reason })
    this.#bus().publish('disconnect', { userId, code, reason })
    this.#disconnect(userId, code, reason)
  }

  #disconnect (userId: string, code: number, reason: string): void {
    this.#pending.disconnect(userId, { code, reason })
    for (const connection of [...this.#hub.ofUser(userId)]) connection.close(code, reason)
  }
}
