import type { ChannelInfo } from '../../protocol/messages.js'
import type { Connection } from '../connection/connection.js'
import type { Scope } from '../scope/scope.js'
import type { Replica } from '../store/replica.js'
import type { Source } from './subscription.js'

/** A sync channel, as far as the key that it is made of knows. */
export interface KeyChannel {
  readonly info: ChannelInfo
  readonly scope: Scope
  /** Takes over when subscribers hear of a change: see `Subscriptions.publish`. */
  onCommit? (replica: Replica, from: number): void
  /** The value that a connection subscribes to instead of the key's. */
  source? (connection: Connection): Source
}
