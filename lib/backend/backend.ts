import type { Head } from '../protocol/messages.js'
import type { RateLimitResult, RateLimitRule } from '../protocol/sliding-window.js'

/** Ends a subscription. May be called twice. `ready` resolves when messages start to arrive. */
export type BackendUnsubscribe = (() => void) & { ready?: Promise<void> }

/**
 * A head with the id of its commit. A store may come back without its newest commits. New commits then have the same
 * versions, but other ids.
 */
export interface Position extends Head {
  /** The id of the commit that made the version; empty at version 0. */
  id: string
}

/** One accepted write. */
export interface LogEntry {
  /** Unique: up to 120 characters, no line break. */
  id: string
  /** A JSON Patch (RFC 6902) as JSON text. */
  patches: string
}

/**
 * The whole value at a version. A backend stores the text unchanged. It is the value's JSON, or a space and the JSON of
 * an object with the value and the server's own data.
 */
export interface Snapshot {
  /** The version of the value. */
  version: number
  /** The stored text. */
  value: string
}

/**
 * A key in the journal, or the part of it that a reader lacks. `commits` are consecutive and end at `version`. They
 * start after `snapshot.version`. Without a snapshot they start after the reader's version.
 */
export interface KeyRecord extends Position {
  /** Whether clients may see the key. */
  live: boolean
  /** Absent if `commits` are enough for the reader, and at version 0. */
  snapshot?: Snapshot
  /** One version each, in order. */
  commits: LogEntry[]
  /** The journal has lost the reader's position: same epoch, other history. The record is complete. */
  isLost?: boolean
}

/** A request to the journal: commits, or a new epoch, based on a position. */
export interface CommitRequest {
  /** The position on which the first commit is based. */
  base: Position
  /** One version each, in order. */
  commits: LogEntry[]
  /**
   * Makes the key live; `false` changes nothing. If the key was not live, `snapshot` is the value at the new head, and
   * the journal drops all commits up to there. Clients recover from the log, and must not see commits from before the
   * key was live.
   */
  live?: boolean
  /**
   * The value at one of the versions from `base.version` to the newest of `commits`. The journal may then drop older
   * commits, but keeps a tail of the log from which other nodes recover.
   */
  snapshot?: Snapshot
  /**
   * Starts another epoch, instead of commits. Without `value` the key is deleted: not live, at version 0. With `value`
   * (text, as in a snapshot) the key stays live if it was. The value is version 1, made by the commit `id`.
   */
  reset?: { epoch: string, id: string, value?: string }
  /**
   * ms after which the key expires. Each commit restarts the time, even an empty one. If absent, the key does not
   * expire any more.
   */
  ttlMs?: number
}

/** The answer of the journal: the new head, or the record that the caller lacks. */
export type CommitResult =
  | (Head & { accepted: true, /** bytes of log since the snapshot; writers send a new one when it is large */ logBytes: number })
  | { accepted: false, missed: KeyRecord }

/** Published by the journal to `subscribe(key)` for every accepted commit. */
export interface CommitNotice {
  /** The position before the commits. */
  base: Position
  /** The position after them. */
  head: Position
  /** Whether clients may see the key now. */
  live: boolean
  /** Absent after a reset, or if the journal omitted them. Then the receiver reads the key. */
  commits?: LogEntry[]
}

/** The three methods of the journal: a custom backend has all of them or none. */
export interface Journal {
  /**
   * Appends commits, atomically. If the key is at `base`, every commit is appended, the version grows by their number,
   * and a CommitNotice is published to `subscribe(key)`. Otherwise nothing changes, and the result has the commits that
   * the caller lacks. All nodes see the commits of a key in one order. Once the promise resolves, every `read` on every
   * node sees the commits. A request takes effect at most once, however often an implementation sends it.
   * @param key the key
   * @param request the commits, and their base
   * @throws DatasoleError `OUTCOME_UNKNOWN` if it may have taken effect, or still may
   */
  commit (key: string, request: CommitRequest): Promise<CommitResult>
  /**
   * Reads the commits after `have` if the log still has them, else a snapshot and commits, without a gap.
   *
   * Keys that were never written share one epoch, at version 0. After a loss of all data, that epoch is a new one. A
   * backend may forget a deleted key, which then is in the shared epoch, too. It may do so only if the shared epoch has
   * changed since the key last had a value. So no epoch of a key returns, and a commit on an old epoch is refused.
   * @param key the key
   * @param have the position that the caller knows. Default: none
   */
  read (key: string, have?: Position): Promise<KeyRecord>
  /**
   * Lists the live keys, in any order. Keys that do not begin with `prefix` may be omitted. Each node asks for one
   * prefix at its start. Use an index, so that a start does not take longer the more keys there are.
   * @param prefix start of the wanted keys. Default: all
   */
  liveKeys (prefix?: string): Promise<string[]>
}

/** The log of a backend. It gets one line when the store becomes unavailable, and one when it is back. */
export interface BackendLog {
  /** Logs an error of the store. @param data the error is its member `err` @param message text of the line */
  error (data: object, message: string): void
  /** Logs that the store is back. @param message text of the line */
  info (message: string): void
}

/**
 * The store and pub/sub that nodes share. The first five methods are enough for one node.
 *
 * Without the journal's three methods, every commit stores the whole value by `set`. That is correct on one node; with
 * several nodes the last writer wins, and clients recover by snapshots. Without `onDoubt`, a node that lost messages
 * stays out of date until the next commit of the key. Without `consume`, each node counts limits by itself. Without
 * `expire`, stored values never expire.
 */
export interface StateBackend extends Partial<Journal> {
  /** Reads the value that `set` stored last. @param key the key @returns a copy; `undefined` if there is no value */
  get<T = unknown> (key: string): Promise<T | undefined>
  /**
   * Stores a JSON value. Once it resolves, every `get` on every node sees this value or a later one.
   * @param key the key
   * @param value plain JSON
   */
  set<T = unknown> (key: string, value: T): Promise<void>
  /**
   * Deletes a value, and empties a bucket of `consume`.
   * @param key the key, or the bucket
   * @returns whether there was a value
   */
  delete (key: string): Promise<boolean>
  /**
   * Calls `handler` for each message that any node publishes under `key`, in the order of publication, and never before
   * `subscribe` has returned. It may be called before `connect`.
   * @param key the channel
   * @param handler gets the channel and the value; must not throw
   * @param topic only with `hasTopics`: gets messages that are published to this topic of the key, and no others
   * @returns ends the subscription
   */
  subscribe (key: string, handler: (key: string, value: unknown) => void, topic?: string): BackendUnsubscribe
  /**
   * Sends a message to every subscriber, including those on the publisher's node. Resolves once it is on its way. A
   * message arrives at most once. If the promise rejects, it may have arrived.
   * @param key the channel
   * @param value plain JSON
   * @param topic only with `hasTopics`: reaches the subscribers of this topic of the key, and no others
   */
  publish (key: string, value: unknown, topic?: string): Promise<void>
  /**
   * Whether a key has topics besides its own channel. A subscriber gets the publications of one process to a key and
   * its topics in order, whichever of them it subscribes to. With topics, a broadcast to users and tags reaches only
   * the nodes that have them. Without, it reaches every node. Set it only if a node may subscribe to very many topics:
   * one per user and tag of its connections.
   */
  readonly hasTopics?: boolean
  /**
   * Opens the connections. Every server that uses the backend calls it before any other method, except `subscribe` and
   * `onDoubt`. If the backend cannot be used, the promise rejects within a bounded time. The error names the option at
   * fault and the cause.
   * @param log gets a line when the store becomes unavailable, and when it is back. Default: none
   */
  connect? (log?: BackendLog): Promise<void>
  /** Ends one `connect`. It is called once for each that succeeded. */
  close? (): Promise<void>
  /**
   * Calls a function when messages may have been lost, for example after a reconnect. Nodes then compare versions.
   * @param fn called without arguments
   * @returns ends the subscription
   */
  onDoubt? (fn: () => void): BackendUnsubscribe
  /**
   * Admits `cost` to a sliding window if it fits, and counts it, atomically (see SlidingWindow). Cost 0 counts nothing,
   * and tests whether a cost of 1 would fit. Buckets are separate from other keys, and an empty bucket is deleted. A
   * backend that needs no I/O returns the result without a promise, so that frames do not wait for one.
   * @param bucket its name
   * @param rule `windowMs` (ms) and `maxRequests`
   * @param cost a whole number from 0
   * @throws RangeError if `cost` is over `rule.maxRequests`
   */
  consume? (bucket: string, rule: RateLimitRule, cost: number): RateLimitResult | Promise<RateLimitResult>
  /**
   * Sets when the value that `set` stored expires. A later `set` cancels that.
   * @param key the key
   * @param ttlMs ms from now
   * @returns whether there was a value
   */
  expire? (key: string, ttlMs: number): Promise<boolean>
}
