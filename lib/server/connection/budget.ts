import type { RpcError } from '../../protocol/errors.js'
import { Refusal } from '../errors/refusal.js'

/** A call that has not been answered, or whose handler still runs. */
export interface CallInFlight {
  readonly correlationId: number
  abort (reason: RpcError): void
  /** Cancels the call for good if its handler has not begun; returns false if the handler may have begun. */
  withdraw (): boolean
}

/** Bounds the operations of one kind that a connection has in progress. The first is admitted, whatever its size. */
export class Budget {
  #count = 0
  #bytes = 0
  readonly #maxCount: number
  readonly #maxBytes: number

  constructor (maxCount: number, maxBytes: number) {
    this.#maxCount = maxCount
    this.#maxBytes = maxBytes
  }

  get isEmpty (): boolean { return this.#count === 0 }

  /**
   * @param reason the message of the refusal
   * @param retryAfter ms
   * @throws Refusal `BUSY`
   */
  enter (size: number, reason: string, retryAfter: number): void {
    if (this.#count > 0 && (this.#count >= this.#maxCount || this.#bytes + size > this.#maxBytes)) throw new Refusal('BUSY', reason, { retryAfter })
    this.#count++
    this.#bytes += size
  }

  leave (size: number): void {
    this.#count--
    this.#bytes -= size
  }
}
