import { DatasoleError, invalidArgument, isThenable } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import { checkSessionKey, sessionValue } from '../config/checks.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import { HybridClock } from '../../crdt/clock.js'
import type { Connection } from '../connection/connection.js'
import type { Hub } from '../connection/hub.js'
import type { Part } from '../lifecycle/part.js'
import type { Logger } from '../context/logger.js'
import { SessionFlusher } from './session-flusher.js'
import { type Field, Session } from './session.js'
import type { Settings } from '../config/settings.js'
import type { StateStore, StoreOwner } from '../store/state-store.js'

/** Gets each change; `value` is undefined for a deletion, `version` grows with every write of a field. */
export type SessionListener = (userId: string, key: string, value: unknown, version: number) => void | Promise<void>

/** Most sessions of users without a connection on this node; below, the number that is evicted together. */
const MAX_UNCONNECTED = 10_000
const ROOM = 100

/**
 * ms that an unused session without connection and changes stays loaded. Longer after a restore, because a handler may
 * still read it after its client has left.
 */
const LINGER = 2000
const LINGER_RESTORED = 60_000

/** ms between evictions. */
const SWEEP = 1000

/**
 * Values of users that outlive connections. Sessions in use are in memory, so that reads and writes are synchronous.
 * Changes are written to the backend later, and merged there with those of other nodes, field by field.
 */
export class Sessions implements Part {
  readonly #store: StateStore
  readonly #isUsable: () => boolean
  readonly #hub: Hub
  readonly #settings: Settings['session']
  readonly #maxDepth: number
  readonly #log: Logger
  readonly #flusher: SessionFlusher
  readonly #clock = new HybridClock()
  /** Least recently used first. */
  readonly #sessions = new Map<string, Session>()
  readonly #listeners = new Set<SessionListener>()
  #sweeping: NodeJS.Timeout | undefined
  /** Until this time (monotonic ms) no eviction is tried, because the last one found nothing to evict. */
  #fullUntil = 0
  #isClosed = false

  /**
   * @param openStore opens the store of these sessions
   * @param isUsable whether the backend can be used
   */
  constructor (openStore: (owner: StoreOwner) => StateStore, isUsable: () => boolean, hub: Hub, session: Settings['session'], maxJsonDepth: number, log: Logger) {
    this.#isUsable = isUsable
    const store = this.#store = openStore({
      onCommit: ({ key }) => { this.#committed(key) },
      isNeeded: (userId) => this.#sessions.has(userId)
    })
    this.#hub = hub
    this.#settings = session
    this.#maxDepth = maxJsonDepth
    this.#log = log
    this.#flusher = new SessionFlusher(store, session, log, (each) => this.#load(each))
  }

  /** Number of sessions that are loaded on this node. */
  get size (): number { return this.#sessions.size }

  /** Whether the sessions are in a store. */
  areIn (store: StateStore): boolean { return store === this.#store }

  /** Deletes all fields of a session. Resolves once the backend has stored that. @returns whether there were any */
  async clear (userId: string): Promise<boolean> {
    const fields = Object.keys(await this.restore(userId))
    for (const field of fields) this.delete(userId, field)
    await this.flush(userId)
    return fields.length > 0
  }

  async restore (userId: string | undefined): Promise<Record<string, unknown>> {
    const session = this.#open(userId)
    session.restores++
    session.wasRestored = true
    try {
      // the loaded copy may be out of date
      if (session.isLoaded) await this.#store.refresh(session.userId)
      else await this.#load(session)
      if (this.#settings.ttlMs !== undefined && session.isStored) {
        await this.#store.touch(session.userId)
        this.#renew(session)
      }
      return session.values()
    } finally {
      session.restores--
      // counts as used now, so that it is not evicted before the caller reads it
      this.#use(session)
    }
  }

  get (userId: string, key: string): unknown {
    checkSessionKey(key)
    const session = this.#sessions.get(checkUser(userId))
    if (session !== undefined) this.#use(session)
    return session?.get(key)
  }

  set (userId: string, key: string, value: unknown): void {
    const copy = sessionValue(key, value, this.#maxDepth)
    this.#write(this.#open(userId), key, [this.#clock.tick(), this.#clock.node, copy])
  }

  delete (userId: string, key: string): boolean {
    checkSessionKey(key)
    const session = this.#open(userId)
    const isThere = session.has(key)
    // a session that is not loaded may have the field in the backend
    if (isThere || !session.isLoaded) this.#write(session, key, [this.#clock.tick(), this.#clock.node])
    return isThere
  }

  async flush (userId: string): Promise<void> {
    const session = this.#sessions.get(checkUser(userId))
    if (session !== undefined) await this.#flusher.flush(session)
  }

  onChange (fn: SessionListener): Unsubscribe {
    if (!this.#settings.enableChangeStream) throw new DatasoleError('NOT_ENABLED', 'sessions.onChange needs the option session: { enableChangeStream: true }')
    if (typeof fn !== 'function') throw invalidArgument('sessions.onChange: the listener must be a function')
    const own: SessionListener = (...change) => fn(...change)
    this.#listeners.add(own)
    return unsubscriber(() => { this.#listeners.delete(own) })
  }

  /** Flushes pending changes, in a microtask, so that the `onDisconnect` hooks run first. */
  disconnected ({ context: { userId } }: Connection): void {
    queueMicrotask(() => { this.#departed(userId) })
  }

  #departed (userId: string | undefined): void {
    const session = userId === undefined || this.#hub.hasUser(userId) ? undefined : this.#sessions.get(userId)
    if (session === undefined) return
    this.#use(session)
    if (session.isDirty && session.failures === 0) this.#flusher.soon(session)
  }

  /** Flushes all sessions, and refuses further changes. */
  async drain (deadline: number): Promise<void> {
    if (!this.#isUsable()) return
    await this.#flusher.drain(this.#sessions, deadline)
    this.stop()
  }

  stop (): void {
    this.#isClosed = true
    clearInterval(this.#sweeping)
    this.#flusher.close(this.#sessions.values())
  }

  /** The session of a user, created if necessary. It may still have to be loaded. */
  #open (userId: string | undefined): Session {
    if (this.#isClosed) throw new DatasoleError('CLOSED', 'the server is closed: sessions can no longer be changed')
    let session = this.#sessions.get(checkUser(userId))
    if (session === undefined) {
      this.#makeRoom()
      session = new Session(userId!, this.#clock, this.#settings.enableChangeStream)
      const { ttlMs = Infinity } = this.#settings
      this.#sweeping ??= setInterval(() => { this.#sweep() }, Math.max(10, Math.min(SWEEP, ttlMs / 4))).unref()
    }
    this.#use(session)
    return session
  }

  #use (session: Session): void {
    session.usedAt = performance.now()
    this.#sessions.delete(session.userId)
    this.#sessions.set(session.userId, session)
  }

  #load (session: Session): Promise<void> {
    if (session.isLoaded) return Promise.resolve()
    return (session.loading ??= (async () => {
      try {
        session.loaded(await this.#store.replica(session.userId))
        this.#renew(session)
      } finally {
        session.loading = undefined
      }
    })())
  }

  #write (session: Session, key: string, field: Field): void {
    session.write(key, field)
    this.#renew(session)
    this.#flusher.changed(session)
    // load it early, for later reads
    if (!session.isLoaded) this.#load(session).catch(() => {}) // the flush loads it again
    this.#report(session.userId, key, field)
  }

  #committed (userId: string): void {
    const session = this.#sessions.get(userId)
    if (!session?.isLoaded) return
    this.#renew(session)
    for (const [key, field] of session.moved()) this.#report(userId, key, field)
  }

  #report (userId: string, key: string, [version, , value]: Field): void {
    const failed = (error: unknown): void => { this.#log.error({ err: error }, 'a listener of session changes failed') }
    for (const listener of this.#listeners) {
      try {
        const result = listener(userId, key, clonePlain(value), version)
        if (isThenable(result)) result.then(undefined, failed)
      } catch (error) {
        failed(error)
      }
    }
  }

  /** Restarts the time to live, about when the backend does. */
  #renew (session: Session): void {
    session.checkAt = performance.now() + (this.#settings.ttlMs ?? Infinity)
  }

  #sweep (): void {
    const now = performance.now()
    const { ttlMs = Infinity } = this.#settings
    const expired = []
    for (const session of this.#sessions.values()) {
      if (session.usedAt + (session.wasRestored ? LINGER_RESTORED : LINGER) < now) this.#evict(session)
      if (session.checkAt > now || !session.isStored) continue
      // another node may have restored it, so ask the backend
      session.checkAt = now + Math.max(SWEEP, ttlMs / 10)
      expired.push(session.userId)
    }
    if (expired.length > 0) this.#store.recheck(expired)
    if (this.#sessions.size > 0) return
    clearInterval(this.#sweeping)
    this.#sweeping = undefined
  }

  #evict (session: Session): void {
    const { userId, isDirty, restores, loading, flushing } = session
    if (isDirty || restores > 0 || loading !== undefined || flushing !== undefined || this.#hub.hasUser(userId)) return
    clearTimeout(session.timer)
    this.#sessions.delete(userId)
    this.#store.idle(userId)
  }

  #makeRoom (): void {
    const limit = MAX_UNCONNECTED + this.#hub.users
    if (this.#sessions.size < limit) return
    const now = performance.now()
    if (now >= this.#fullUntil) {
      // evict several at once, so that not every new session scans all
      for (const session of this.#sessions.values()) if (this.#sessions.size > limit - ROOM) this.#evict(session)
      if (this.#sessions.size < limit) return
      this.#fullUntil = now + SWEEP
    }
    throw new DatasoleError('BUSY', `sessions of ${MAX_UNCONNECTED} users without a connection already wait to be stored; try again later`)
  }
}

function checkUser (userId: string | undefined): string {
  if ((userId ?? '') === '') throw new DatasoleError('NO_USER_ID', 'the connection has no userId, so it has no session: return a userId from the authHandler')
  if (typeof userId !== 'string') throw invalidArgument('the userId of a session must be a string')
  return userId
}
