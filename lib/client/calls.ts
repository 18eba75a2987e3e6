import { type AbortSignalLike, onAbort } from '../protocol/abort.js'
import { RpcCode } from '../protocol/codes.js'
import { DatasoleError, RpcError, invalidArgument } from '../protocol/errors.js'
import type { RpcResponse } from '../protocol/messages.js'

export interface CallOptions {
  /** ms; default the client's `rpcTimeoutMs`, 0 or Infinity for no limit. */
  timeoutMs?: number
  /** Cancels the call; it then rejects with the signal's reason. */
  signal?: AbortSignalLike
}

interface Call {
  /** The whole message, in case that it has to be sent again. */
  readonly json: string
  resolve (result: unknown): void
  reject (error: unknown): void
  isSent: boolean
  /** How often a server closed before it had begun the call. */
  returns: number
  timer?: ReturnType<typeof setTimeout>
  /** Lets go of the signal. */
  release?: () => void
}

/** Calls in flight that a server takes if its WELCOME does not say. */
const DEFAULT_LIMIT = 100

/** How often a call is sent again that never ran. */
const MAX_RETURNS = 10

/** ms; a timer that is set to more fires at once. */
const MAX_TIMER = 2 ** 31 - 1

export interface CallsHost {
  /** A call has been given up: it need not be sent any more, or else be cancelled. */
  givenUp (id: number, isSent: boolean): void
  /** A call that was sent never ran: it is to be sent again, on the next connection. */
  returned (id: number, json: string): void
}

/** Calls that wait for their answers. */
export class Calls {
  readonly #calls = new Map<number, Call>()
  /** Sent on this connection and not answered, those that were given up included: the server counts them, too. */
  readonly #underWay = new Set<number>()
  readonly #host: CallsHost
  #limit = DEFAULT_LIMIT
  #lastId = 0

  constructor (host: CallsHost) {
    this.#host = host
  }

  /** Whether the server takes another one. */
  get hasRoom (): boolean { return this.#underWay.size < this.#limit }

  /** A new connection. */
  connected (limit: number | undefined): void {
    this.#limit = limit ?? DEFAULT_LIMIT
  }

  /** A correlation id that nothing is waiting under. */
  nextId (): number {
    do this.#lastId = this.#lastId % 0xffffffff + 1
    while (this.#calls.has(this.#lastId) || this.#underWay.has(this.#lastId))
    return this.#lastId
  }

  add (id: number, method: string, json: string, { timeoutMs = 0, signal }: CallOptions): Promise<unknown> {
    if (!(timeoutMs >= 0)) throw invalidArgument(`timeoutMs of "${method}" is ${timeoutMs}: give ms from 0`)
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

  /** It is about to be sent. */
  sent (id: number): void {
    const call = this.#calls.get(id)
    if (call === undefined) return
    call.isSent = true
    this.#underWay.add(id)
  }

  answered (id: number, { result, error, begun }: RpcResponse): void {
    this.#underWay.delete(id)
    if (begun === false && this.#return(id)) return
    const call = this.#take(id)
    if (error !== undefined) call?.reject(new RpcError(error.code, error.message, error.data))
    else call?.resolve(result)
  }

  /** @returns whether there was such a call */
  fail (id: number, error: Error): boolean {
    this.#underWay.delete(id)
    const call = this.#take(id)
    call?.reject(error)
    return call !== undefined
  }

  /** The server closes the connection, and says which calls it has begun: all others without an answer never ran. */
  left (begun: number[]): void {
    const hasBegun = new Set(begun)
    for (const [id, { isSent }] of this.#calls) if (isSent && !hasBegun.has(id)) this.#return(id)
  }

  /** The connection is gone: nobody will say what became of the calls that were sent on it. */
  dropped (): void {
    for (const [id, { isSent }] of this.#calls) {
      if (isSent) this.fail(id, new DatasoleError('OUTCOME_UNKNOWN', 'the connection dropped while the call was in flight: it may or may not have run'))
    }
    this.#underWay.clear()
  }

  /** There will be no connection for those that were never sent. */
  abandoned (): void {
    for (const id of this.#calls.keys()) this.fail(id, notConnected())
  }

  /** @returns whether it will be sent again */
  #return (id: number): boolean {
    const call = this.#calls.get(id)
    if (call === undefined || call.returns >= MAX_RETURNS) return false
    call.returns++
    call.isSent = false
    this.#host.returned(id, call.json)
    return true
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
