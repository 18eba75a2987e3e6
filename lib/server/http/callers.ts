import { Buckets } from '../connection/buckets.js'
import { Budget } from '../connection/budget.js'
import type { Connection } from '../connection/connection.js'
import type { Settings } from '../config/settings.js'
import { HttpRefusal } from './http-refusal.js'

/** Callers that are remembered; then those go that called least recently. */
const MAX_CALLERS = 10_000

/** The limits that all requests of one user share, or, without a user, of one address. */
class Caller {
  readonly buckets: Buckets
  readonly calls: Budget
  /** Streams and long polls. */
  waiting = 0

  constructor (name: string, { maxCallsInFlight, maxInflatedSize }: Settings) {
    this.buckets = new Buckets(name)
    this.calls = new Budget(maxCallsInFlight, maxInflatedSize)
  }

  get isIdle (): boolean { return this.waiting === 0 && this.calls.isEmpty }
}

/**
 * A request is a connection that ends with its answer, so that the limits of a connection would count nothing. The
 * connections of one user have them in common.
 */
export class Callers {
  readonly #settings: Settings
  readonly #callers = new Map<string, Caller>()
  readonly #max: number
  readonly #maxOfOne: number
  #waiting = 0

  /**
   * @param maxStreams streams and long polls of all users
   * @param maxStreamsPerUser those of one user, or of one address
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
    connection.buckets = buckets
    connection.callBudget = calls
  }

  /**
   * A stream or a long poll begins.
   * @throws HttpRefusal 503
   * @returns to be called when it has ended
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
    // no user id is the name of an address
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
