import type { Head } from '../../protocol/messages.js'
import type { Connection } from '../connection/connection.js'
import type { Stale } from '../connection/flusher.js'
import type { Scope } from '../scope/scope.js'
import type { StateStore } from '../store/state-store.js'

/** A value that connections subscribe to. */
export interface Source {
  readonly subscriptions: Set<Subscription>
  /** Brings a subscription to the newest version; false if its connection has no room for that yet. */
  catchUp (subscription: Subscription): boolean
}

/**
 * A connection's interest in a key, with the version that it was given last. A shared patch goes to
 * it only where it continues that version; everything else is a catch-up.
 */
export class Subscription implements Stale, Head {
  epoch = ''
  /** The version that the client has; -1 for none. */
  version = -1
  /** Correlation ids of the SUBSCRIBEs that wait for an answer. */
  asked: number[] | undefined
  /** The scope whose hooks have allowed it. */
  scope: Scope | undefined
  /** The number that the client knows the key by; 0 for none. */
  number = 0
  /** Times in a row that its hooks failed. */
  failures = 0
  /** The CRDT type that the client asked for, if it did. */
  type: string | undefined
  /** The name under which the client writes a CRDT. */
  nodeId: string | undefined

  constructor (readonly connection: Connection, readonly key: string) {}

  /** Set once the subscription is authorized and the key is here. */
  source: Source | undefined
  /** The store of a source that is a key; undefined if it is a connection's own value. */
  store: StateStore | undefined

  /** Called once the connection has been told of all there is. */
  told: (() => void) | undefined

  catchUp (): boolean {
    const isDone = this.source?.catchUp(this) ?? true
    if (isDone) this.told?.()
    return isDone
  }
}
