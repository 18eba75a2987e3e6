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
 * Sends calls to a store that may be away. Calls are bounded in number and in time, and sent again if that is safe.
 * The log gets one line when the store goes away, and one when it is back.
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
   * @param isFault whether an error means that the store is away, and not that it refused the call
   * @param reason the error that explains another, such as why there is no connection
   */
  constructor (store: string, limits: RetryLimits, isFault: (error: unknown) => boolean, reason = (error: unknown): unknown => error) {
    this.#store = store
    this.#limits = limits
    this.#isFault = isFault
    this.#reason = reason
    // each waiting call has a listener, and calls are bounded
    setMaxListeners(0, this.#ended.signal)
  }

  /** Makes one attempt, for calls that must not take effect twice, such as a message. Throws as `repeat` does. */
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
   * Sends again after a fault, for calls that may take effect twice.
   * @throws DatasoleError `BACKEND_UNAVAILABLE` if the store stays away, `BACKEND_REFUSED` with its answer as `cause`,
   *   `BUSY` over the bound, `CLOSED`
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

  /** Notes that a part of the connection is gone, until `up`. */
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

  /** Refuses the calls that wait, and all that come. */
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
