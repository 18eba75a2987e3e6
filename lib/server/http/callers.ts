import { Buckets } from '../connection/buckets.js'
import { Budget } from '../connection/budget.js'
import type { Connection } from '../connection/connection.js'
import type { Settings } from '../config/settings.js'
import { HttpRefusal } from './http-refusal.js'

/** Most callers that are remembered. Beyond that, the least recently used idle caller is forgotten. */
const MAX_CALLERS = 10_000

/** The limits that all requests of one user share, or of one address if there is no user. */
class Caller {
  readonly buckets: Buckets
  readonly calls: Budget
  /** Open streams and long polls. */
  waiting = 0

  constructor (name: string, { maxCallsInFlight, maxInflatedSize }: Settings) {
    this.buckets = new Buckets(name)
    this.calls = new Budget(maxCallsInFlight, maxInflatedSize)
  }

  get isIdle (): boolean { return this.waiting === 0 && this.calls.isEmpty }
}

/**
 * Keeps the limits of HTTP users between requests. A request is a connection that ends with its answer, so limits per
 * connection would count nothing.
 */
export class Callers {
  readonly #settings: Settings
  readonly #callers = new Map<string, Caller>()
  readonly #max: number
  readonly #maxOfOne: number
  #waiting = 0

  /**
   * @param maxStreams most streams and long polls of all users
   * @param maxStreamsPerUser most of one user, or of one address
   */
  constructor (settings: Settings, maxStreams: number, maxStreamsPerUser: number) {
    this.#settings = settings
    this.#max = maxStreams
    this.#maxOfOne = maxStreamsPerUser
  }

  get size (): number { return this.#callers.size }

  /** Gives a connection the limits of its user. */
  lend (connection: Connection): void {
    const { buckets, calls } = this.#of(connection)
    connection.work.buckets = buckets
    connection.work.callBudget = calls
  }

  /**
   * Counts a stream or a long poll.
   * @throws HttpRefusal 503
   * @returns call it when the stream or long poll has ended
   */
  wait (connection: Connection): () => void {
    const caller = this.#of(connection)
    if (this.#waiting >= this.#max || caller.waiting >= this.#maxOfOne) throw HttpRefusal.of('BUSY', 'too many streams and long polls are open', { retryAfter: 5000 })
    this.#waiting++
    caller.waiting++
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      this.#waiting--
      caller.waiting--
    }
  }

  #of ({ context: { userId, remoteAddress } }: Connection): Caller {
    // the prefixes differ, so that no user id equals an address
    const name = userId === undefined ? `http@${remoteAddress}` : `http:${userId}`
    const caller = this.#callers.get(name) ?? new Caller(name, this.#settings)
    this.#callers.delete(name)
    this.#callers.set(name, caller)
    if (this.#callers.size > MAX_CALLERS) this.#forgetOne()
    return caller
  }

  #forgetOne (): void {
    for (const [name, caller] of this.#callers) {
      if (!caller.isIdle) continue
      this.#callers.delete(name)
      return
    }
  }
}
