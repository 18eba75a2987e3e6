/** ms until a frame would be admitted; 0 if it is admitted. */
export type Wait = number

/** Most frames that wait per connection. */
const MAX_FRAMES = 1000

/**
 * Received frames of a connection that wait for a store's decision, or for earlier frames. The store is asked about
 * each frame on arrival, and the frames are handled in order.
 */
export class InboundQueue {
  #last: Promise<void> = Promise.resolve()
  #frames = 0
  #bytes = 0
  readonly #onEmpty: () => void

  constructor (onEmpty: () => void) {
    this.#onEmpty = onEmpty
  }

  hasRoomFor (size: number, maxBytes: number): boolean {
    return this.#frames < MAX_FRAMES && this.#bytes + size <= maxBytes
  }

  /**
   * @param decision must not reject
   * @param handOn must not throw
   */
  add (size: number, decision: Wait | Promise<Wait>, handOn: (wait: Wait) => void): void {
    this.#frames++
    this.#bytes += size
    this.#last = this.#inTurn(this.#last, size, decision, handOn)
  }

  async #inTurn (before: Promise<void>, size: number, decision: Wait | Promise<Wait>, handOn: (wait: Wait) => void): Promise<void> {
    const wait = await decision
    await before
    this.#bytes -= size
    if (--this.#frames === 0) this.#onEmpty()
    handOn(wait)
  }
}
