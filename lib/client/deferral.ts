import { DatasoleError } from '../protocol/errors.js'
import type { ErrorMessage } from '../protocol/messages.js'
import { backoff } from './backoff.js'

/** ms that a subscription may be put off before `onError` hears of it. */
const LONG = 5000

/** How long a subscription waits that the server has put off, each time longer until it is answered. */
export class Deferral {
  #attempts = 0
  #since = 0
  #isTold = false

  /**
   * The server has put it off.
   * @returns `delay` in ms; `news` the first time that it takes long, for `onError`
   */
  next (key: string, { code, message, retryAfter }: Pick<ErrorMessage, 'message'> & { code: string, retryAfter: number }, now: number = performance.now()): { delay: number, news?: DatasoleError } {
    if (this.#attempts++ === 0) this.#since = now
    // a rate limit knows when it has room; anything else is asked after a growing, random time
    const delay = retryAfter + (code === 'RATE_LIMITED' ? 0 : backoff(this.#attempts, retryAfter))
    if (this.#isTold || now - this.#since + delay < LONG) return { delay }
    this.#isTold = true
    return { delay, news: new DatasoleError(code, `the subscription to "${key}" waits, and is asked for again: ${message}`) }
  }

  /** It has been answered. */
  ended (): void {
    this.#attempts = 0
    this.#isTold = false
  }
}
