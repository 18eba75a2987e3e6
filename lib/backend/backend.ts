import type { Head } from '../protocol/messages.js'

/** Ends a subscription; may be called twice. `ready` resolves once messages will arrive. */
export type Unsubscribe = (() => void) & { ready?: Promise<void> }

/** One accepted write: a random id, by which its writer knows it again, and a JSON Patch as JSON text. */
export interface LogEntry { id: string, patches: string }

/** The whole value at a version, as JSON text. */
export interface Snapshot { version: number, value: string }

/**
 * What a journal holds of a key, or the part that a reader lacks. `commits` are consecutive and end
 * at `version`; they start after `snapshot.version`, or, where there is no snapshot, after the
 * version that the reader said it has.
 */
export interface KeyRecord extends Head {
  /** Whether clients may see the key. */
  live: boolean
  /** Absent where the reader's own value can be brought up to date by `commits`, or at version 0. */
  snapshot?: Snapshot
  commits: LogEntry[]
}

export interface CommitRequest {
  /** The head that the first commit was made on. */
  base: Head
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
  /** Instead of commits: the key loses its value and liveness, and stands at version 0 of this epoch. */
  reset?: { epoch: string, id: string }
}

export type CommitResult =
  | (Head & { accepted: true, /** bytes of log since the snapshot, by which writers know when to send a new one */ logBytes: number })
  | { accepted: false, missed: KeyRecord }

/** Published by the journal to `subscribe(key)` with every accepted commit. */
export interface CommitNotice {
  base: Head
  head: Head
  live: boolean
  /** Absent where the journal did not send them along; the receiver then reads. */
  commits?: LogEntry[]
}

/** The journal's three methods: a custom backend has all of them or none. */
export interface Journal {
  /**
   * Atomic: if the key's head is `base`, every commit is appended, the version advances by as many,
   * and a CommitNotice is published to `subscribe(key)`; otherwise nothing happens, and the reply
   * carries what the caller misses. All nodes see the commits of a key in one order.
   */
  commit (key: string, request: CommitRequest): Promise<CommitResult>
  /**
   * The commits after `have` where the log still holds them, else snapshot and commits. Never a
   * gap. A key that was never written stands at version 0 of the backend's history id.
   */
  read (key: string, have?: Head): Promise<KeyRecord>
  /** Every key that is live, in any order. */
  liveKeys (): Promise<string[]>
}

/**
 * The store and pub/sub that nodes share. The first five methods are enough for one node.
 *
 * Without the journal's three methods every commit is written as a whole snapshot through `set`:
 * correct on one node; across nodes the last writer wins, and clients recover by snapshots.
 */
export interface StateBackend extends Partial<Journal> {
  /** The value that `set` stored last, as a copy that the caller owns; `undefined` where there is none. */
  get<T = unknown> (key: string): Promise<T | undefined>
  /** Stores a JSON value. Once it resolves, every `get` on every node sees this value or a later one. */
  set<T = unknown> (key: string, value: T): Promise<void>
  /** Resolves to whether there was a value. */
  delete (key: string): Promise<boolean>
  /**
   * Calls `handler` for each message published under `key`, on any node, in the order of publication,
   * never before `subscribe` has returned. A handler must not throw.
   */
  subscribe (key: string, handler: (key: string, value: unknown) => void): Unsubscribe
  /** Resolves once the message is on its way to every subscriber, the publisher's own included. */
  publish (key: string, value: unknown): Promise<void>
  /**
   * Called by every server that uses the backend, before any other method. Rejects, within a bounded time, where the backend cannot
   * be used, with an error that names the option at fault.
   */
  connect? (): Promise<void>
  /** Gives back what one `connect` took; called once for each that succeeded. */
  close? (): Promise<void>
  /** `fn` is called when notifications may have been lost: readers then compare versions. */
  onDoubt? (fn: () => void): Unsubscribe
}
