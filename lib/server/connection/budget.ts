import { Refusal } from '../errors/refusal.js'

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
