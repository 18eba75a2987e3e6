import { DatasoleError } from '../protocol/errors.js'
import type { ErrorMessage } from '../protocol/messages.js'
import { backoff } from './backoff.js'

/** ms that a subscription may wait before somebody hears of it. */
const LONG = 5000

/** A subscription that the server cannot take yet, and that is asked for again until it can. */
export class SubscribeRetry {
  readonly #since = performance.now()
  #attempts = 0
  #isHeard = false
  #timer: ReturnType<typeof setTimeout> | undefined

  /**
   * @param again asks once more
   * @returns what is to be heard, where it takes long; once
   */
  refused (key: string, { code, message, retryAfter = 0 }: Pick<ErrorMessage, 'message' | 'retryAfter'> & { code: string }, again: () => void): DatasoleError | undefined {
    // a rate limit says when; of all else that is a guess, at first
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
