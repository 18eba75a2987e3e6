import type { ChannelInfo } from '../../protocol/messages.js'
import { sizeOf } from '../connection/encoding.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Replica } from '../store/replica.js'
import type { StateStore } from '../store/state-store.js'
import type { Source, Subscription } from './subscription.js'

/** The state that all sources of a server share. */
export interface SourceHost {
  readonly metrics: Metrics
  readonly log: Logger
  readonly compressionThreshold: number
}

/** The source of a key that has subscribers on this node. It encodes each change once for all of them. */
export interface KeySource extends Source {
  readonly replica: Replica
  /** The number of the key in compact patches; absent for a source without them. */
  readonly number?: number
  /** Drops the cached messages after the replica has changed. */
  expire (): void
  /** Sends subscribers the changes since a version, or, with -1, marks them for a catch-up. */
  publish (from: number): void
}

/** Publishes the changes since a version, and measures the fan-out. */
export function publishFrom (from: number, source: KeySource | undefined, kind: string, { metrics }: SourceHost): void {
  if (source === undefined) return
  const began = metrics.begin()
  source.publish(from)
  metrics.endFanout(kind, began)
}

/** A kind of key. It determines the store of a key's value, and the messages for its subscribers. */
export interface Kind {
  readonly name: 'json' | 'crdt'
  storeOf (key: string): StateStore
  open (replica: Replica, channel: ChannelInfo | undefined): KeySource
}

/** The correlation id of a message that does not answer a request. */
const UNASKED = [0]

/** Encodes a message for a correlation id, in pieces. */
export type Encoder = (correlationId: number) => readonly Buffer[]

/**
 * Sends an answer under each correlation id that waits for one, or once if none waits.
 * @param sent called before each message is sent
 * @returns false if the connection has no room for the rest yet; those ids keep waiting
 */
export function answerAll (subscription: Subscription, encode: Encoder, sent: () => void): boolean {
  const { connection, asked } = subscription
  const ids = asked ?? UNASKED
  for (let i = 0; i < ids.length; i++) {
    const pieces = encode(ids[i]!)
    if (!connection.hasRoomFor(sizeOf(pieces))) {
      subscription.asked = asked?.slice(i)
      return false
    }
    sent()
    connection.sendPieces(pieces)
  }
  subscription.asked = undefined
  return true
}
