import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from '../context/logger.js'
import type { Session } from './session.js'
import type { Settings } from '../config/settings.js'
import type { StateStore } from '../store/state-store.js'

/** ms before a failed flush is retried. The delay doubles up to `LONGEST_RETRY`. */
const FIRST_RETRY = 100
const LONGEST_RETRY = 30_000

/** Writes changed sessions to the backend: after a number of changes, after a time, and again after a failure. */
export class SessionFlusher {
  readonly #store: StateStore
  readonly #settings: Settings['session']
  readonly #log: Logger
  readonly #load: (session: Session) => Promise<void>
  #hasFailed = false
  #isClosed = false

  constructor (store: StateStore, settings: Settings['session'], log: Logger, load: (session: Session) => Promise<void>) {
    this.#store = store
    this.#settings = settings
    this.#log = log
    this.#load = load
  }

  /** Counts a change, and schedules a flush. */
  changed (session: Session): void {
    session.changes++
    if (session.changes >= this.#settings.flushThreshold && session.failures === 0) this.soon(session)
    else this.#later(session)
  }

  soon (session: Session): void {
    this.flush(session).catch(() => {}) // `flush` has logged the error, and retries
  }

  /** Resolves when all earlier changes are in the backend. */
  flush (session: Session): Promise<void> {
    if (session.flushing === undefined) {
      return (session.flushing = this.#flush(session).finally(() => { session.flushing = undefined }))
    }
    return (session.next ??= session.flushing.catch(() => {}).then(() => { // the callers of that flush get the error
      session.next = undefined
      return this.flush(session)
    }))
  }

  /** Flushes until no session is dirty, or the deadline (ms, monotonic) has passed. */
  async drain (sessions: ReadonlyMap<string, Session>, deadline: number): Promise<void> {
    const dirty = (): Session[] => Array.from(sessions.values()).filter(({ isDirty }) => isDirty)
    const ending = new AbortController()
    const late = wait(Math.max(0, deadline - performance.now()), undefined, { signal: ending.signal }).catch(() => {}) // aborted: not needed
    for (let left = dirty(); left.length > 0 && performance.now() < deadline; left = dirty()) {
      const outcomes = await Promise.race([late, Promise.allSettled(left.map((session) => this.flush(session)))])
      if (outcomes?.some(({ status }) => status === 'rejected')) await Promise.race([late, wait(FIRST_RETRY)])
    }
    ending.abort()
    const lost = dirty().length
    if (lost > 0) this.#log.error(`closing: the last changes to the sessions of ${lost} users are lost, or may be: the backend did not confirm them`)
  }

  close (sessions: Iterable<Session>): void {
    this.#isClosed = true
    for (const { timer } of sessions) clearTimeout(timer)
  }

  async #flush (session: Session): Promise<void> {
    clearTimeout(session.timer)
    session.timer = undefined
    session.changes = 0
    try {
      if (!session.isDirty) return
      if (!session.isLoaded) await this.#load(session)
      const { recipe, done } = session.flush()
      await this.#store.update(session.userId, recipe, false)
      done()
      session.failures = 0
      if (this.#hasFailed) this.#log.info('the backend stores sessions again')
      this.#hasFailed = false
    } catch (error) {
      session.failures++
      if (!this.#hasFailed && !this.#isClosed) this.#log.error({ err: error, userId: session.userId }, 'the backend did not confirm that it stored a session; the server keeps trying, for other sessions as well')
      this.#hasFailed = true
      throw error
    } finally {
      if (session.isDirty && !this.#isClosed) this.#later(session)
    }
  }

  #later (session: Session): void {
    const { failures } = session
    const backoff = Math.min(FIRST_RETRY * 2 ** (failures - 1), LONGEST_RETRY) * (0.5 + Math.random() / 2)
    session.timer ??= setTimeout(() => { this.soon(session) }, failures > 0 ? backoff : this.#settings.flushIntervalMs).unref()
  }
}
