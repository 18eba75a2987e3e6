import { stringify } from '../../protocol/json.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Bus, BusHandlers } from '../bus/bus.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { Settings } from '../config/settings.js'
import { encodeMessage } from '../connection/encoding.js'
import { type Hub, type Target, checkTarget } from '../connection/hub.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Part } from '../lifecycle/part.js'
import type { Scope } from '../scope/scope.js'

/** Events to clients, on every node. */
export class Fanout implements Part {
  readonly #hub: Hub
  readonly #busOf: (scope: Scope) => Bus
  readonly #contract: ContractChecks
  readonly #compressionThreshold: number
  readonly #maxDepth: number
  readonly #metrics: Metrics

  constructor (hub: Hub, busOf: (scope: Scope) => Bus, contract: ContractChecks, { compressionThreshold, maxJsonDepth }: Settings, metrics: Metrics) {
    this.#hub = hub
    this.#busOf = busOf
    this.#contract = contract
    this.#compressionThreshold = compressionThreshold
    this.#maxDepth = maxJsonDepth
    this.#metrics = metrics
  }

  readonly messages: Partial<BusHandlers> = {
    fanout: ({ payload, to, except }) => { this.#deliver(payload, { to, except }) }
  }

  /** @param scope whose backend carries it to the other nodes */
  broadcast (event: string, data: unknown, target: Target = {}, scope: Scope): void {
    checkTarget(event, target)
    const json = stringify(this.#contract.toClient(event, data), this.#maxDepth)
    const payload = `{"event":${JSON.stringify(event)},${json === undefined ? '' : `"data":${json},`}"timestamp":${Date.now()}}`
    this.#busOf(scope).publish('fanout', { payload, ...target })
    this.#deliver(payload, target)
  }

  #deliver (payload: string, target: Target): void {
    const began = this.#metrics.begin()
    let message: Buffer | undefined
    for (const connection of this.#hub.select(target)) {
      connection.send(message ??= encodeMessage(Opcode.EVENT_S2C, 0, payload, this.#compressionThreshold))
    }
    this.#metrics.endFanout('event', began)
  }
}
