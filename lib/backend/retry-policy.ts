import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { BackendLog } from './backend.js'

export interface RetryLimits {
  /** ms after which a call is given up. */
  timeoutMs: number
  /** Calls under way or waiting; more are refused. */
  maxPending: number
}

/** ms between attempts: doubled each time. */
const FIRST_WAIT = 25
const LONGEST_WAIT = 500

/**
 * Calls to a store that may be away: bounded in number and in time, sent again where that is safe,
 * and one line in the log when the store goes and when it comes back.
 */
export class RetryPolicy {
  log: BackendLog | undefined
  readonly #store: string
  readonly #limits: RetryLimits
  readonly #isFault: (error: unknown) => boolean
  readonly #reason: (error: unknown) => unknown
  readonly #down = new Set<string>()
  readonly #ended = new AbortController()
  #pending = 0

  /**
   * @param store its name, for messages
   * @param isFault whether an error says that the store is away, and not that it refused; a `DatasoleError` says neither
   * @param reason what says more than an error does, where there is something: why there is no connection
   */
  constructor (store: string, limits: RetryLimits, isFault: (error: unknown) => boolean, reason = (error: unknown): unknown => error) {
    this.#store = store
    this.#limits = limits
    this.#isFault = isFault
    this.#reason = reason
    // one for each call that waits, which are bounded
    setMaxListeners(0, this.#ended.signal)
  }

  /** For what may take effect twice, such as a message: one attempt, while the store is there. Throws as `repeat` does. */
  async once<T> (send: () => Promise<T>): Promise<T> {
    this.#enter()
    try {
      return await send()
    } catch (error) {
      throw this.#explained(this.#reason(error))
    } finally {
      this.#pending--
    }
  }

  /**
   * For what may be sent again after a fault.
   * @throws DatasoleError `BACKEND_UNAVAILABLE` where the store stayed away, `BACKEND_REFUSED` with what it answers as
   *   `cause`, `BUSY` over the bound, `CLOSED`
   */
  async repeat<T> (send: () => Promise<T>): Promise<T> {
    this.#enter()
    const deadline = performance.now() + this.#limits.timeoutMs
    try {
      for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
        try {
          return await send()
        } catch (thrown) {
          const error = this.#reason(thrown)
          if (!this.#isFault(error) || performance.now() + wait > deadline) throw this.#explained(error)
          await setTimeout(wait * (0.5 + Math.random() / 2), undefined, this.#ended).catch(() => { throw this.#closed() })
        }
      }
    } finally {
      this.#pending--
    }
  }

  /** A part of the connection is gone; `up` says that it is back. */
  down (part: string, error: unknown): void {
    if (this.#ended.signal.aborted) return
    if (this.#down.size === 0) {
      this.log?.error({ err: error }, `${this.#store} is away; what needs it waits up to ${this.#limits.timeoutMs} ms, and it is tried again until it is back`)
    }
    this.#down.add(part)
  }

  up (part: string): void {
    if (this.#down.delete(part) && this.#down.size === 0) this.log?.info(`${this.#store} is back`)
  }

  /** Calls that wait, and those to come, are refused. */
  end (): void {
    this.#ended.abort()
  }

  #enter (): void {
    if (this.#ended.signal.aborted) throw this.#closed()
    if (this.#pending >= this.#limits.maxPending) {
      throw new DatasoleError('BUSY', `${this.#limits.maxPending} calls wait for ${this.#store} already; try again later`)
    }
    this.#pending++
  }

  #explained (cause: unknown): unknown {
    if (this.#isFault(cause)) return new DatasoleError('BACKEND_UNAVAILABLE', `${this.#store} is not available: ${messageOf(cause)}`, { cause })
    if (cause instanceof DatasoleError || cause instanceof TypeError) return cause
    return new DatasoleError('BACKEND_REFUSED', `${this.#store} refused: ${messageOf(cause)}`, { cause })
  }

  #closed (): DatasoleError {
    return new DatasoleError('CLOSED', `the connection to ${this.#store} is closed`)
  }
}
