import { DatasoleError } from '../protocol/errors.js'
import type { ErrorMessage } from '../protocol/messages.js'
import { backoff } from './backoff.js'

/** Delay of a subscription in ms from which on it is reported as an error. */
const LONG = 5000

/** Repeats a subscription that the server defers. */
export class SubscribeRetry {
  readonly #since = performance.now()
  #attempts = 0
  #isHeard = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /**
   * Schedules the next attempt.
   * @param again sends the subscription again
   * @returns an error to report, once, if the delay is long
   */
  refused (key: string, { code, message, retryAfter = 0 }: Pick<ErrorMessage, 'message' | 'retryAfter'> & { code: string }, again: () => void): DatasoleError | undefined {
    // only a rate limit gives an exact time; back off after any other error
    const wait = retryAfter + (code === 'RATE_LIMITED' || this.#attempts === 0 ? 0 : backoff(this.#attempts, retryAfter))
    this.#attempts++
    this.end()
    this.#timer = setTimeout(again, wait)
    if (this.#isHeard || performance.now() - this.#since + wait < LONG) return undefined
    this.#isHeard = true
    return new DatasoleError(code, `the subscription to "${key}" is delayed: ${message}; the client retries in ${Math.ceil(wait)} ms`)
  }

  end (): void {
    clearTimeout(this.#timer)
  }
}
