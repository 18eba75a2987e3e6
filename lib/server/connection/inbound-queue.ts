/** ms until a frame is admitted, 0 where it is. */
export type Wait = number

/** Frames of a connection that may wait. */
const MAX_FRAMES = 1000

/**
 * Frames of a connection that have arrived and wait: for a store's decision on them, or for those before
 * them. Each was asked about when it arrived; they are handed on in order.
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
