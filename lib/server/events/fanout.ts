import { stringify } from '../../protocol/json.js'
import type { Bus, BusHandlers } from '../bus/bus.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { Settings } from '../config/settings.js'
import { type Hub, type Target, checkTarget } from '../connection/hub.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Part } from '../lifecycle/part.js'
import type { Scope } from '../scope/scope.js'
import { type EncodedEvent, EventFrames, EventNumbers } from './event-frames.js'

/** Events to clients, on every node. */
export class Fanout implements Part {
  readonly #hub: Hub
  readonly #busOf: (scope: Scope) => Bus
  readonly #contract: ContractChecks
  readonly #compressionThreshold: number
  readonly #maxDepth: number
  readonly #metrics: Metrics
  readonly #numbers = new EventNumbers()

  constructor (hub: Hub, busOf: (scope: Scope) => Bus, contract: ContractChecks, { compressionThreshold, maxJsonDepth }: Settings, metrics: Metrics) {
    this.#hub = hub
    this.#busOf = busOf
    this.#contract = contract
    this.#compressionThreshold = compressionThreshold
    this.#maxDepth = maxJsonDepth
    this.#metrics = metrics
  }

  readonly messages: Partial<BusHandlers> = {
    fanout: ({ to, except, ...event }) => { this.#deliver(event, { to, except }) }
  }

  /** @param scope whose backend carries it to the other nodes */
  broadcast (event: string, data: unknown, target: Target = {}, scope: Scope): void {
    checkTarget(event, target)
    const json = stringify(this.#contract.toClient(event, data), this.#maxDepth)
    const message = { event, json, timestamp: Date.now() }
    this.#busOf(scope).publish('fanout', { ...message, ...target })
    this.#deliver(message, target)
  }

  #deliver (event: EncodedEvent, target: Target): void {
    const began = this.#metrics.begin()
    const frames = new EventFrames(event, this.#numbers, this.#compressionThreshold)
    for (const connection of this.#hub.select(target)) connection.send(frames.for(connection))
    this.#metrics.endFanout('event', began)
  }
}
