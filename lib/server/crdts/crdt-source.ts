import type { CrdtState } from '../../crdt/types.js'
import type { CrdtChanges, CrdtSnapshot } from '../../crdt/crdt-frames.js'
import type { ChannelInfo, Operation } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { changesOf, stateMessage } from './crdt-messages.js'
import { SharedPayload, encodeMessage } from '../connection/encoding.js'
import { MAX_V1_PAYLOAD } from '../keys/json-source.js'
import { type KeySource, type SourceHost, answerAll } from '../keys/source.js'
import type { Replica } from '../store/replica.js'
import type { Subscription } from '../keys/subscription.js'

/** A CRDT key with subscribers on this node. Version 2 clients get each change, encoded once; version 1 the state. */
export class CrdtSource implements KeySource {
  readonly subscriptions = new Set<Subscription>()
  readonly replica: Replica
  readonly #host: SourceHost
  /** Encoded states of the current version, by the group of clients that share one. */
  readonly #states = new Map<string, SharedPayload>()
  #isOversizedLogged = false

  /** @param channel the channel of the key, to be announced to subscribers */
  constructor (replica: Replica, host: SourceHost, readonly channel: ChannelInfo | undefined) {
    this.replica = replica
    this.#host = host
  }

  get #version (): number { return this.replica.live ? this.replica.version : 0 }

  expire (): void {
    this.#states.clear()
  }

  publish (from: number): void {
    const { replica, subscriptions } = this
    const { epoch, version } = replica
    let message: Buffer | null | undefined
    for (const subscription of subscriptions) {
      const { connection } = subscription
      const isNext = from !== -1 && subscription.version === from && subscription.epoch === epoch && subscription.asked === undefined
      if (!isNext || connection.protocol === 1 || connection.isCongested || (message ??= this.#changes(from)) === null || !connection.hasRoomFor(message.length)) {
        connection.markStale(subscription)
        continue
      }
      subscription.version = version
      this.#host.metrics.statePatches++
      connection.send(message)
    }
  }

  catchUp (subscription: Subscription): boolean {
    const { connection, asked } = subscription
    const version = this.#version
    if (asked === undefined && subscription.epoch === this.replica.epoch && subscription.version === version) return true
    const isFirst = connection.protocol === 1
    if (isFirst && version === 0) {
      subscription.version = -1
      return true
    }
    const payload = this.#state(version, isFirst, subscription.nodeId)
    if (isFirst && payload.size > MAX_V1_PAYLOAD) return this.#oversized(subscription)
    return answerAll(subscription, (id) => payload.message(id), () => {
      subscription.epoch = this.replica.epoch
      subscription.version = version
      this.#host.metrics.stateSnapshots++
    })
  }

  /** The changes since a version as one frame; null if the whole state must be sent. */
  #changes (from: number): Buffer | null {
    const { key, epoch, version, live, document } = this.replica
    const patches = live ? this.replica.patchesSince({ epoch, version: from }) : undefined
    const ops = patches === undefined ? undefined : changesOf(document.value as CrdtState, JSON.parse(patches) as Operation[])
    if (ops === undefined) return null
    const changes: CrdtChanges = { key, epoch, from, version, ops }
    return encodeMessage(Opcode.CRDT_OP, 0, JSON.stringify(changes), this.#host.compressionThreshold)
  }

  /** The state for a client. A counter's state for version 2 has the client's own counts; other states are shared. */
  #state (version: number, isFirst: boolean, nodeId = ''): SharedPayload {
    const { key, epoch, document } = this.replica
    const state = version === 0 ? undefined : document.value as CrdtState
    const reader = state?.type !== 'pn-counter' ? '' : isFirst ? '1' : `2${nodeId}`
    const cached = this.#states.get(reader)
    if (cached !== undefined) return cached
    const snapshot: CrdtSnapshot = { key, epoch, version, state: state && stateMessage(state, version, isFirst ? undefined : nodeId), channel: this.channel }
    const payload = new SharedPayload(Opcode.CRDT_STATE, JSON.stringify(snapshot), this.#host.compressionThreshold)
    // a state with a client's own counts is not shared
    if (reader.length <= 1) this.#states.set(reader, payload)
    return payload
  }

  #oversized (subscription: Subscription): true {
    // skip this version: the state may be smaller after the next change
    subscription.epoch = this.replica.epoch
    subscription.version = this.#version
    this.#host.metrics.stateOversized++
    if (this.#isOversizedLogged) return true
    this.#isOversizedLogged = true
    this.#host.log.warn({ key: this.replica.key }, 'the state of this CRDT is over 1 MiB, so clients of protocol version 1 get no updates of it')
    return true
  }
}
