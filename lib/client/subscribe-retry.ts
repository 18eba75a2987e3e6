import { DatasoleError } from '../protocol/errors.js'
import type { ErrorMessage } from '../protocol/messages.js'
import { backoff } from './backoff.js'

/** ms that a subscription may wait before an error reports it. */
const LONG = 5000

/** Repeats a subscription that the server cannot take yet. */
export class SubscribeRetry {
  readonly #since = performance.now()
  #attempts = 0
  #isHeard = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /**
   * Schedules the next attempt.
   * @param again subscribes once more
   * @returns an error to report, once, if the wait is long
   */
  refused (key: string, { code, message, retryAfter = 0 }: Pick<ErrorMessage, 'message' | 'retryAfter'> & { code: string }, again: () => void): DatasoleError | undefined {
    // only a rate limit knows when there is room: back off from all else
    const wait = retryAfter + (code === 'RATE_LIMITED' || this.#attempts === 0 ? 0 : backoff(this.#attempts, retryAfter))
    this.#attempts++
    this.end()
    this.#timer = setTimeout(again, wait)
    if (this.#isHeard || performance.now() - this.#since + wait < LONG) return undefined
    this.#isHeard = true
    return new DatasoleError(code, `the subscription to "${key}" has to wait: ${message}; it is asked for again, now in ${Math.ceil(wait)} ms`)
  }

  end (): void {
    clearTimeout(this.#timer)
  }
}
