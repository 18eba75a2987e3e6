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
 * A connection's interest in a key, with the version that the client has. A shared patch is sent only if it starts from
 * that version. Otherwise the client gets a catch-up.
 */
export class Subscription implements Stale, Head {
  epoch = ''
  /** The version that the client has; -1 for none. */
  version = -1
  /** Correlation ids of the SUBSCRIBEs that wait for an answer. */
  asked: number[] | undefined
  /** The scope whose hooks have allowed the subscription. */
  scope: Scope | undefined
  /** The number by which the client knows the key; 0 for none. */
  number = 0
  /** Times in a row that the hooks failed. */
  failures = 0
  /** The CRDT type that the client asked for, if any. */
  type: string | undefined
  /** The name under which the client writes to a CRDT. */
  nodeId: string | undefined

  constructor (readonly connection: Connection, readonly key: string) {}

  /** Set after the subscription was allowed and the key was loaded. */
  source: Source | undefined
  /** The store of the key; undefined if the source is a connection's own value. */
  store: StateStore | undefined

  /** Called when the client is up to date. */
  told: (() => void) | undefined

  catchUp (): boolean {
    const isDone = this.source?.catchUp(this) ?? true
    if (isDone) this.told?.()
    return isDone
  }
}
