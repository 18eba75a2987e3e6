import { setMaxListeners } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { BackendLog } from './backend.js'

export interface RetryLimits {
  /** ms after which a call is not repeated any more. */
  timeoutMs: number
  /** Most calls in progress or waiting. Further calls are refused. */
  maxPending: number
}

/** ms between attempts. The delay doubles up to `LONGEST_WAIT`. */
const FIRST_WAIT = 25
const LONGEST_WAIT = 500

/**
 * Sends calls to a store that may be unavailable. The number of calls and their time are bounded. Calls are sent again
 * if that is safe. The log gets one line when the store becomes unavailable, and one when it is back.
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
   * @param isFault whether an error means that the store is unavailable, not that it refused the call
   * @param reason returns the error that explains another one, such as why there is no connection
   */
  constructor (store: string, limits: RetryLimits, isFault: (error: unknown) => boolean, reason = (error: unknown): unknown => error) {
    this.#store = store
    this.#limits = limits
    this.#isFault = isFault
    this.#reason = reason
    // each waiting call has a listener, so Node.js would warn of a leak; the number of calls is bounded
    setMaxListeners(0, this.#ended.signal)
  }

  /** Makes one attempt, for calls that must not take effect twice, such as `publish`. Throws as `repeat` does. */
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
   * Sends a call again after a fault. It must be safe if it takes effect twice.
   * @throws DatasoleError `BACKEND_UNAVAILABLE` if the store stays unavailable, `BACKEND_REFUSED` with its answer as
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

  /** Marks a part of the connection as lost, until `up`. */
  down (part: string, error: unknown): void {
    if (this.#ended.signal.aborted) return
    if (this.#down.size === 0) {
      this.log?.error({ err: error }, `${this.#store} is unavailable: calls wait up to ${this.#limits.timeoutMs} ms, and the server keeps trying to connect`)
    }
    this.#down.add(part)
  }

  up (part: string): void {
    if (this.#down.delete(part) && this.#down.size === 0) this.log?.info(`${this.#store} is available again`)
  }

  /** Refuses waiting calls and all later ones. */
  end (): void {
    this.#ended.abort()
  }

  #enter (): void {
    if (this.#ended.signal.aborted) throw this.#closed()
    if (this.#pending >= this.#limits.maxPending) {
      throw new DatasoleError('BUSY', `${this.#limits.maxPending} calls already wait for ${this.#store}; try again later`)
    }
    this.#pending++
  }

  #explained (cause: unknown): unknown {
    if (this.#isFault(cause)) return new DatasoleError('BACKEND_UNAVAILABLE', `${this.#store} is not available: ${messageOf(cause)}`, { cause })
    if (cause instanceof DatasoleError || cause instanceof TypeError) return cause
    return new DatasoleError('BACKEND_REFUSED', `${this.#store} refused the call: ${messageOf(cause)}`, { cause })
  }

  #closed (): DatasoleError {
    return new DatasoleError('CLOSED', `the connection to ${this.#store} is closed`)
  }
}
