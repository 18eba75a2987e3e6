import { isThenable } from '../../protocol/errors.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import { SlidingWindows } from '../../protocol/sliding-windows.js'
import { DefaultRateLimiter } from './default-rate-limiter.js'
import type { Wait } from '../connection/inbound-queue.js'
import type { Logger } from '../context/logger.js'
import type { Metrics } from '../metrics/metrics.js'
import type { RateLimiter } from '../config/server-options.js'
import type { RateLimits } from '../config/settings.js'

/** ms between two tests whether a failed limiter works again. */
const PROBE = 100
const PROBE_KEY = 'probe'
const PROBE_RULE = { windowMs: 1000, maxRequests: 1_000_000 }

/** `retryAfter` (ms) if the policy is `deny` and the backend is down. */
const DENIED = 1000

/** Asks a limiter that nodes share, and applies `onBackendError` while it fails. */
export class SharedLimit {
  readonly #limiter: RateLimiter
  readonly #policy: Pick<RateLimits, 'onBackendError' | 'timeoutMs'>
  readonly #metrics: Metrics
  readonly #log: Logger
  readonly #now: () => number
  /** Kept between outages. Otherwise a limiter that fails again and again would admit a full window each time. */
  readonly #own = new SlidingWindows()
  #isDown = false
  #fallbacks = 0
  #probe: NodeJS.Timeout | undefined
  #isClosed = false

  /** @param now monotonic ms */
  constructor (limiter: RateLimiter, policy: Pick<RateLimits, 'onBackendError' | 'timeoutMs'>, metrics: Metrics, log: Logger, now: () => number) {
    this.#limiter = limiter
    this.#policy = policy
    this.#metrics = metrics
    this.#log = log
    this.#now = now
  }

  /** Counts a frame. Returns a promise, which never rejects, only if the limiter returns one. */
  take (key: string, rule: RateLimitRule): Wait | Promise<Wait> {
    // frames do not wait for a limiter that is known to be down
    if (this.#isDown) return this.#decideAlone(key, rule)
    try {
      const result = this.#ask(key, rule)
      return isThenable(result) ? this.#await(result, key, rule) : waitOf(result, rule)
    } catch (error) {
      this.#failed(error)
      return this.#decideAlone(key, rule)
    }
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#probe)
  }

  #ask (key: string, rule: RateLimitRule): RateLimitResult | Promise<RateLimitResult> {
    return this.#limiter instanceof DefaultRateLimiter ? this.#limiter.decide(key, rule, 1) : this.#limiter.consume(key, rule, 1)
  }

  async #await (result: PromiseLike<RateLimitResult>, key: string, rule: RateLimitRule): Promise<Wait> {
    try {
      return waitOf(await this.#inTime(result), rule)
    } catch (error) {
      this.#failed(error)
      return this.#decideAlone(key, rule)
    }
  }

  #inTime<T> (result: PromiseLike<T>): Promise<T> {
    const { timeoutMs } = this.#policy
    return new Promise((resolve, reject) => {
      const late = (): void => { reject(new Error(`no decision within rateLimit.timeoutMs (${timeoutMs} ms)`)) }
      // if this process was blocked, an answer that has arrived is handled before the immediate runs
      const timer = setTimeout(setImmediate, timeoutMs, late).unref()
      result.then((value) => { clearTimeout(timer); resolve(value) }, (error: unknown) => { clearTimeout(timer); reject(error) })
    })
  }

  #decideAlone (key: string, rule: RateLimitRule): Wait {
    this.#metrics.rateLimitFallbacks++
    this.#fallbacks++
    const { onBackendError } = this.#policy
    if (onBackendError === 'allow') return 0
    if (onBackendError === 'deny') return DENIED
    const now = Math.floor(this.#now())
    return this.#own.get(key, rule, now).take(now, 1)
  }

  #failed (error: unknown): void {
    if (this.#isDown || this.#isClosed) return
    this.#isDown = true
    this.#log.error({ err: error, onBackendError: this.#policy.onBackendError }, 'the shared rate limit gives no answer; rateLimit.onBackendError decides until it does')
    this.#probeSoon()
  }

  /** Probes without waiting for a frame, so that limits are exact from the first frame after an outage. */
  #probeSoon (): void {
    this.#probe = setTimeout(() => {
      this.#inTime((async () => await this.#ask(PROBE_KEY, PROBE_RULE))()).then(() => { this.#isBack() }, () => { if (!this.#isClosed) this.#probeSoon() })
    }, PROBE).unref()
  }

  #isBack (): void {
    this.#log.warn(`the shared rate limit answers again; rateLimit.onBackendError decided on ${this.#fallbacks} frames`)
    this.#isDown = false
    this.#fallbacks = 0
  }
}

/** @throws TypeError for an invalid decision, so that nothing is admitted by mistake */
function waitOf ({ allowed, retryAfter }: RateLimitResult, { windowMs }: RateLimitRule): Wait {
  if (typeof allowed !== 'boolean') throw new TypeError('the rateLimiter must return { allowed: boolean, remaining, resetAt, retryAfter? }')
  if (allowed) return 0
  return Number.isFinite(retryAfter) ? Math.max(1, Math.ceil(retryAfter!)) : windowMs
}
