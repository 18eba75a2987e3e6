import type { Head } from '../../protocol/messages.js'
import type { Connection, Stale } from '../connection/connection.js'
import type { Scope } from '../scope/scope.js'

/** The key as its subscribers see it: see LiveKey. */
export interface Source {
  readonly subscriptions: Set<Subscription>
  catchUp (subscription: Subscription): boolean
}

/**
 * A connection's interest in a key, with the version that it was given last. A shared patch goes to
 * it only where it continues that version; everything else is a catch-up.
 */
export class Subscription implements Stale, Head {
  epoch = ''
  /** -1: nothing yet. */
  version = -1
  /** Correlation ids of the SUBSCRIBEs that wait for an answer. */
  asked: number[] | undefined
  /** Whose hooks have let it through. */
  scope: Scope | undefined
  /** Times in a row that its hooks failed. */
  failures = 0
  /** Of a CRDT: as whom the client writes. */
  nodeId: string | undefined

  constructor (readonly connection: Connection, readonly key: string) {}

  /** Set once the subscription is authorized and the key is here. */
  source: Source | undefined

  /** Called once the connection has been told of all there is. */
  told: (() => void) | undefined

  catchUp (): boolean {
    const isDone = this.source?.catchUp(this) ?? true
    if (isDone) this.told?.()
    return isDone
  }
}
