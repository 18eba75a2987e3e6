import type { RpcError } from '../../protocol/errors.js'
import { Refusal } from '../errors/refusal.js'

/** A call that has not been answered, or whose handler still runs. */
export interface CallInFlight {
  readonly correlationId: number
  abort (reason: RpcError): void
  /** Takes it back for good where its handler has not begun; false where that may have. */
  withdraw (): boolean
}

/** A bound on what a connection has under way of one kind. The first is let in, whatever its size. */
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
   * @param reason what the client is told where there is no room
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
