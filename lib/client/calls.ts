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
  resolve (result: unknown): void
  reject (error: unknown): void
  isSent: boolean
  timer?: ReturnType<typeof setTimeout>
  /** Lets go of the signal. */
  release?: () => void
}

/** ms; a timer that is set to more fires at once. */
const MAX_TIMER = 2 ** 31 - 1

/** Calls that wait for their answers. */
export class Calls {
  readonly #calls = new Map<number, Call>()
  /** A call has been given up: it need not be sent any more, or else be cancelled. */
  readonly #givenUp: (id: number, isSent: boolean) => void
  #lastId = 0

  constructor (givenUp: (id: number, isSent: boolean) => void) {
    this.#givenUp = givenUp
  }

  /** A correlation id that nothing is waiting under. */
  nextId (): number {
    do this.#lastId = this.#lastId % 0xffffffff + 1
    while (this.#calls.has(this.#lastId))
    return this.#lastId
  }

  add (id: number, method: string, { timeoutMs = 0, signal }: CallOptions): Promise<unknown> {
    if (!(timeoutMs >= 0)) throw invalidArgument(`timeoutMs of "${method}" is ${timeoutMs}: give ms from 0`)
    return new Promise((resolve, reject) => {
      const call: Call = { resolve, reject, isSent: false }
      this.#calls.set(id, call)
      if (timeoutMs > 0 && timeoutMs <= MAX_TIMER) {
        call.timer = setTimeout(() => {
          this.#giveUp(id, new RpcError(RpcCode.TIMEOUT, `no answer to "${method}" within ${timeoutMs} ms`, { code: 'TIMEOUT' }))
        }, timeoutMs)
      }
      if (signal !== undefined) call.release = onAbort(signal, () => { this.#giveUp(id, signal.reason) })
    })
  }

  sent (id: number): void {
    const call = this.#calls.get(id)
    if (call !== undefined) call.isSent = true
  }

  answered (id: number, { result, error }: RpcResponse): void {
    const call = this.#take(id)
    if (error !== undefined) call?.reject(new RpcError(error.code, error.message, error.data))
    else call?.resolve(result)
  }

  /** @returns whether there was such a call */
  fail (id: number, error: Error): boolean {
    const call = this.#take(id)
    call?.reject(error)
    return call !== undefined
  }

  /** The connection is gone, on which all of them had been sent: nobody will say what became of them. */
  dropped (): void {
    for (const id of this.#calls.keys()) this.fail(id, new DatasoleError('OUTCOME_UNKNOWN', 'the connection dropped while the call was in flight: it may or may not have run'))
  }

  /** There will be no connection for those that were never sent. */
  abandoned (): void {
    for (const id of this.#calls.keys()) this.fail(id, notConnected())
  }

  #giveUp (id: number, reason: unknown): void {
    const call = this.#take(id)
    if (call === undefined) return
    this.#givenUp(id, call.isSent)
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
