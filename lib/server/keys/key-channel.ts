import type { ChannelInfo } from '../../protocol/messages.js'
import type { Connection } from '../connection/connection.js'
import type { Scope } from '../scope/scope.js'
import type { Replica } from '../store/replica.js'
import type { Source } from './subscription.js'

/** What a key is beside live state. */
export interface KeyChannel {
  readonly info: ChannelInfo
  readonly scope: Scope
  /** Takes over when subscribers hear of a change: see `LiveState.publish`. */
  moved? (replica: Replica, from: number): void
  /** What a connection mirrors instead of the key's value. */
  source? (connection: Connection): Source
}
