import type { Journal, StateBackend } from '../../backend/backend.js'
import type { Tracer } from '../metrics/tracer.js'
import type { Replica } from './replica.js'
import type { WriteRules } from './write.js'

/** The part of a store that its keys use. */
export interface StateHost {
  readonly backend: StateBackend
  readonly journal: Journal
  /** Prefix of the key's name in the backend, which separates it from other data. */
  readonly prefix: string
  /** ms that a key stays in the backend after a commit; undefined for ever. */
  readonly ttlMs: number | undefined
  /** The promise to wait for before the backend can be used. */
  ready (): Promise<void> | undefined
  /** See StoreOwner. */
  onCommit (replica: Replica, from: number): void
  onLiveChange (key: string, isLive: boolean, isOwn: boolean): void
  committed (count: number): void
  /** Undefined without a tracer. */
  readonly tracer: Tracer | undefined
  /** The time in ms if durations are measured, else 0. */
  begin (): number
  /** Records how long a batch of writes has waited in the queue. */
  waited (since: number): void
  /** Records the result of a commit; `accepted` is undefined if the journal did not answer. */
  answered (began: number, accepted: boolean | undefined): void
  /** The key has no work in progress, and may be unloaded. */
  idle (key: string): void
  rulesOf (key: string): WriteRules
  /** The key could not be read, and has to be read again until it can. */
  fellBehind (key: string, error: unknown): void
}
