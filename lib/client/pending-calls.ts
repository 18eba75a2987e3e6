import { type AbortSignalLike, onAbort } from '../protocol/abort.js'
import { RpcCode } from '../protocol/codes.js'
import { DatasoleError, RpcError, invalidArgument } from '../protocol/errors.js'
import type { RpcResponse } from '../protocol/messages.js'

/** Options of a call. */
export interface CallOptions {
  /** Timeout in ms. Default the client's `rpcTimeoutMs`; 0 or Infinity for no limit. */
  timeoutMs?: number
  /** Cancels the call, which then rejects with the signal's reason. */
  signal?: AbortSignalLike
  /** The caller's span: a `traceparent` header of W3C Trace Context. Default none. */
  traceparent?: string
}

interface Call {
  /** The message, kept to send it again. */
  readonly json: string
  resolve (result: unknown): void
  reject (error: unknown): void
  isSent: boolean
  /** How often the server returned the call without running it. */
  returns: number
  timer?: ReturnType<typeof setTimeout>
  /** Removes the listener from the signal. */
  release?: () => void
}

/** Maximum number of calls in flight if WELCOME has no limit. */
const DEFAULT_LIMIT = 100

/** Maximum number of repeats of a call that never ran. */
const MAX_RETURNS = 10

/** Delay in ms before calls are sent again to a full server, if it gives no time. */
const RETRY = 100

/** The longest timer in ms. A longer one would fire at once. */
const MAX_TIMER = 2 ** 31 - 1

export interface PendingCallsHost {
  /** Called if a call was cancelled or timed out. The host removes an unsent call from the queue, and cancels a sent one. */
  givenUp (id: number, isSent: boolean): void
  /**
   * Called if a sent call never ran and must be sent again.
   * @param isFull true: on this connection, once there is room; false: on the next connection
   */
  returned (id: number, json: string, isFull: boolean): void
  /** Called when there may be room for more calls. */
  widened (): void
}

/** Calls without an answer. */
export class PendingCalls {
  readonly #calls = new Map<number, Call>()
  /** Calls sent on this connection and not answered, including cancelled ones, because the server counts them too. */
  readonly #inFlight = new Set<number>()
  readonly #host: PendingCallsHost
  #limit = DEFAULT_LIMIT
  /** The current limit of calls in flight. It is lower than `#limit` while handlers of cancelled calls still run. */
  #room = DEFAULT_LIMIT
  #step = 1
  #widening: ReturnType<typeof setInterval> | undefined
  #lastId = 0

  constructor (host: PendingCallsHost) {
    this.#host = host
  }

  /** Whether another call may be sent. */
  get hasRoom (): boolean { return this.#inFlight.size < this.#room }

  /** @param limit `maxCallsInFlight` of the new connection, if WELCOME has it */
  connected (limit: number | undefined): void {
    this.#room = this.#limit = limit ?? DEFAULT_LIMIT
  }

  /** An unused correlation id. */
  nextId (): number {
    do this.#lastId = this.#lastId % 0xffffffff + 1
    while (this.#calls.has(this.#lastId) || this.#inFlight.has(this.#lastId))
    return this.#lastId
  }

  add (id: number, method: string, json: string, { timeoutMs = 0, signal }: CallOptions): Promise<unknown> {
    if (!(timeoutMs >= 0)) throw invalidArgument(`timeoutMs of "${method}" must be ms from 0, not ${timeoutMs}`)
    return new Promise((resolve, reject) => {
      const call: Call = { json, resolve, reject, isSent: false, returns: 0 }
      this.#calls.set(id, call)
      if (timeoutMs > 0 && timeoutMs <= MAX_TIMER) {
        call.timer = setTimeout(() => {
          this.#giveUp(id, new RpcError(RpcCode.TIMEOUT, `no answer to "${method}" within ${timeoutMs} ms`, { code: 'TIMEOUT' }))
        }, timeoutMs)
      }
      if (signal !== undefined) call.release = onAbort(signal, () => { this.#giveUp(id, signal.reason) })
    })
  }

  /** Marks a call as sent, just before it is sent. */
  sent (id: number): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    call.isSent = true
    this.#inFlight.add(id)
  }

  answered (id: number, { result, error, begun, again }: RpcResponse): void {
    this.#inFlight.delete(id)
    if (again === true) return this.#refused(id, error?.data as { retryAfter?: number } | undefined)
    if (begun === false && this.#return(id)) return
    const call = this.#take(id)
    if (error !== undefined) call?.reject(new RpcError(error.code, error.message, error.data))
    else call?.resolve(result)
  }

  /** @returns whether the id was of a call */
  fail (id: number, error: Error): boolean {
    this.#inFlight.delete(id)
    const call = this.#take(id)
    call?.reject(error)
    return call !== undefined
  }

  /** Handles GOAWAY. Unanswered calls that are not in `begun` never ran. */
  left (begun: number[]): void {
    const hasBegun = new Set(begun)
    for (const [id, { isSent }] of this.#calls) if (isSent && !hasBegun.has(id)) this.#return(id)
  }

  /** Handles a lost connection. The outcome of calls in flight is unknown. */
  dropped (): void {
    for (const [id, { isSent }] of this.#calls) {
      if (isSent) this.fail(id, new DatasoleError('OUTCOME_UNKNOWN', 'the connection dropped during the call: the call may or may not have run'))
    }
    this.#inFlight.clear()
    this.#stopWidening()
  }

  /** Rejects the remaining calls, because there will be no other connection. */
  abandoned (): void {
    for (const id of this.#calls.keys()) this.fail(id, notConnected())
  }

  /** Queues a call that never ran. @returns whether it will be sent again */
  #return (id: number): boolean {
    const call = this.#calls.get(id)
    if (call === undefined || call.returns >= MAX_RETURNS) return false
    call.returns++
    call.isSent = false
    this.#host.returned(id, call.json, false)
    return true
  }

  /** Handles a call that the server had no room for. Lowers the limit, and raises it again in doubling steps. */
  #refused (id: number, { retryAfter = RETRY }: { retryAfter?: number } = {}): void {
    this.#room = this.#inFlight.size
    this.#step = 1
    this.#widening ??= setInterval(() => {
      this.#room += this.#step
      this.#step *= 2
      if (this.#room >= this.#limit) {
        this.#room = this.#limit
        this.#stopWidening()
      }
      this.#host.widened()
    }, retryAfter)
    const call = this.#calls.get(id)
    if (call === undefined) return
    call.isSent = false
    this.#host.returned(id, call.json, true)
  }

  #stopWidening (): void {
    clearInterval(this.#widening)
    this.#widening = undefined
  }

  #giveUp (id: number, reason: unknown): void {
    const call = this.#take(id)
    if (call === undefined) return
    this.#host.givenUp(id, call.isSent)
    call.reject(reason)
  }

  #take (id: number): Call | undefined {
    const call = this.#calls.get(id)
    if (call === undefined) return undefined
    this.#calls.delete(id)
    clearTimeout(call.timer)
    call.release?.()
    return call
  }
}

export function notConnected (): DatasoleError {
  return new DatasoleError('NOT_CONNECTED', 'the client is not connected: call connect() first')
}
