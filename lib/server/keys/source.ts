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

/** The source of a key with subscribers on this node: it encodes each change once, for all of them. */
export interface KeySource extends Source {
  readonly replica: Replica
  /** The number that stands for the key in compact patches, where it has any. */
  readonly number?: number
  /** The replica has changed: messages that were encoded of it are old. */
  expire (): void
  /** Sends subscribers the changes since a version, or, with -1, marks them for a catch-up. */
  publish (from: number): void
}

/** Publishes the changes since a version, and measures that where somebody records. */
export function publishFrom (from: number, source: KeySource | undefined, kind: string, { metrics }: SourceHost): void {
  if (source === undefined) return
  const began = metrics.begin()
  source.publish(from)
  metrics.endFanout(kind, began)
}

/** A kind of key: where its values are stored, and what its subscribers are sent. */
export interface Kind {
  readonly name: 'json' | 'crdt'
  storeOf (key: string): StateStore
  open (replica: Replica, channel: ChannelInfo | undefined): KeySource
}

/** The correlation id of a message that answers no request. */
const UNASKED = [0]

/** An encoded message in pieces, by the correlation id that it answers. */
export type Encoder = (correlationId: number) => readonly Buffer[]

/**
 * Sends the same answer under each correlation id that waits for one, or once if none does.
 * @param sent called before each message leaves
 * @returns false if the connection has no room for the rest yet; those ids go on waiting
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
