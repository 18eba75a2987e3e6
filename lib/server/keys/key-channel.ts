import type { ChannelInfo } from '../../protocol/messages.js'
import type { Connection } from '../connection/connection.js'
import type { Scope } from '../scope/scope.js'
import type { Replica } from '../store/replica.js'
import type { Source } from './subscription.js'

/** The part of a sync channel that its key uses. */
export interface KeyChannel {
  readonly info: ChannelInfo
  readonly scope: Scope
  /** If present, it decides when subscribers get a change: see `Subscriptions.publish`. */
  onCommit? (replica: Replica, from: number): void
  /** A connection's own value, to which it subscribes instead of the key's. */
  source? (connection: Connection): Source
}
