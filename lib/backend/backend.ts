import type { Head } from '../protocol/messages.js'
import type { RateLimitResult, RateLimitRule } from '../protocol/sliding-window.js'

/** Ends a subscription; may be called twice. `ready` resolves once messages will arrive. */
export type BackendUnsubscribe = (() => void) & { ready?: Promise<void> }

/**
 * A head by which two histories can be told apart: where a store came back without its newest
 * commits, others take their versions, but not their ids.
 */
export interface Position extends Head {
  /** Of the commit that made the version; empty at version 0. */
  id: string
}

/** One accepted write: an id that no other has (some 120 characters at most, no line break), and a JSON Patch as JSON text. */
export interface LogEntry { id: string, patches: string }

/**
 * The whole value at a version, as text that is kept to the letter: JSON of the value, or, behind a
 * space, of an object that has the value and what the server remembers beside it.
 */
export interface Snapshot { version: number, value: string }

/**
 * What a journal holds of a key, or the part that a reader lacks. `commits` are consecutive and end
 * at `version`; they start after `snapshot.version`, or, where there is no snapshot, after the
 * version that the reader said it has.
 */
export interface KeyRecord extends Position {
  /** Whether clients may see the key. */
  live: boolean
  /** Absent where the reader's own value can be brought up to date by `commits`, or at version 0. */
  snapshot?: Snapshot
  commits: LogEntry[]
  /** The reader's position is of this epoch, but not of this history: the journal has lost it, and this is the whole. */
  isLost?: boolean
}

export interface CommitRequest {
  /** What the first commit was made on. */
  base: Position
  /** One version each, in order. */
  commits: LogEntry[]
  /**
   * Makes the key live; never makes it not live. Where it was not, `snapshot` is the value at the new
   * head, and the journal forgets every commit up to there: clients recover from the log, and what
   * the key was before is not theirs to see.
   */
  live?: boolean
  /**
   * The value at one of the versions from `base.version` to the newest of `commits`. The journal
   * may then forget what came before, but keeps a tail of the log from which others recover.
   */
  snapshot?: Snapshot
  /**
   * Instead of commits: the key starts another epoch. Without `value` it loses its value and
   * liveness and stands at version 0; with `value` (text, as a snapshot's) it keeps liveness, and this is its
   * version 1, by the commit `id`.
   */
  reset?: { epoch: string, id: string, value?: string }
  /**
   * ms after which the key is as if it had never been written, unless something is committed to it until
   * then, be it nothing but this. Absent: it stays, whatever was said before.
   */
  ttlMs?: number
}

export type CommitResult =
  | (Head & { accepted: true, /** bytes of log since the snapshot, by which writers know when to send a new one */ logBytes: number })
  | { accepted: false, missed: KeyRecord }

/** Published by the journal to `subscribe(key)` with every accepted commit. */
export interface CommitNotice {
  base: Position
  head: Position
  live: boolean
  /** Absent where the journal did not send them along, and with a reset; the receiver then reads. */
  commits?: LogEntry[]
}

/** The journal's three methods: a custom backend has all of them or none. */
export interface Journal {
  /**
   * Atomic: if the key stands at `base`, every commit is appended, the version advances by as many,
   * and a CommitNotice is published to `subscribe(key)`; otherwise nothing happens, and the reply
   * carries what the caller misses. All nodes see the commits of a key in one order. Once it
   * resolves, every `read` on every node sees it. A request never takes effect twice, however often
   * an implementation sends it.
   * @throws DatasoleError `OUTCOME_UNKNOWN` where it may have taken effect, or still may
   */
  commit (key: string, request: CommitRequest): Promise<CommitResult>
  /**
   * The commits after `have` where the log still holds them, else snapshot and commits. Never a
   * gap. A key that was never written stands at version 0 of an epoch that all such keys share; it is
   * another one after the backend has lost everything. A deleted key may be forgotten, and stands there
   * too, once that epoch is another one than it was when the key last got a value: no epoch of a key ever
   * comes back, and a commit on an epoch that is over is refused.
   */
  read (key: string, have?: Position): Promise<KeyRecord>
  /**
   * Every live key, in any order. Keys that do not begin with `prefix` may be left out.
   */
  liveKeys (prefix?: string): Promise<string[]>
}

/** Where a backend says, once, that its store is away, and that it is back. */
export interface BackendLog {
  error (data: object, message: string): void
  info (message: string): void
}

/**
 * The store and pub/sub that nodes share. The first five methods are enough for one node.
 *
 * Without the journal's three methods every commit is written as a whole snapshot through `set`:
 * correct on one node; across nodes the last writer wins, and clients recover by snapshots. Without
 * `onDoubt`, messages that the backend loses stay lost until the next commit of their key. Without
 * `consume`, limits are counted by each node for itself. Without `expire`, what is stored stays.
 */
export interface StateBackend extends Partial<Journal> {
  /** The value that `set` stored last, as a copy that the caller owns; `undefined` where there is none. */
  get<T = unknown> (key: string): Promise<T | undefined>
  /** Stores a JSON value. Once it resolves, every `get` on every node sees this value or a later one. */
  set<T = unknown> (key: string, value: T): Promise<void>
  /** Resolves to whether there was a value. Also empties a bucket of `consume`. */
  delete (key: string): Promise<boolean>
  /**
   * Calls `handler` for each message published under `key`, on any node, in the order of publication,
   * never before `subscribe` has returned. A handler must not throw. May be called before `connect`.
   */
  subscribe (key: string, handler: (key: string, value: unknown) => void): BackendUnsubscribe
  /**
   * Resolves once the message is on its way to every subscriber, the publisher's own included. A
   * message arrives at most once; where this rejects, it may have arrived.
   */
  publish (key: string, value: unknown): Promise<void>
  /**
   * Called by every server that uses the backend, before any other method but `subscribe` and
   * `onDoubt`. Rejects, within a bounded time, where the backend cannot be used, with an error that
   * names the option at fault and the cause.
   */
  connect? (log?: BackendLog): Promise<void>
  /** Gives back what one `connect` took; called once for each that succeeded. */
  close? (): Promise<void>
  /** `fn` is called when notifications may have been lost: readers then compare versions. */
  onDoubt? (fn: () => void): BackendUnsubscribe
  /**
   * Atomic: admits `cost` to a sliding window, if it fits, and counts it (see SlidingWindow). Cost 0
   * counts nothing and says whether a cost of 1 would fit. A bucket is a key of its own kind; it
   * vanishes when it is empty. One that knows at once returns the result itself: frames then wait for no promise.
   * @throws RangeError where `cost` is over `rule.maxRequests`
   */
  consume? (bucket: string, rule: RateLimitRule, cost: number): RateLimitResult | Promise<RateLimitResult>
  /** What `set` stored is gone after `ttlMs`, unless it is set again. Resolves to whether there was a value. */
  expire? (key: string, ttlMs: number): Promise<boolean>
}
