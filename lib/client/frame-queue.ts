import type { Bytes } from './codec.js'

export interface FrameStep {
  /** Inflates or deflates a frame, or returns it unchanged. */
  convert (frame: Bytes): Bytes | Promise<Bytes>
  /** @param original the frame before `convert` */
  deliver (frame: Bytes, original: Bytes): void
  failed (error: unknown): void
}

/** Converts and delivers frames in order. Frames wait while the conversion of an earlier frame is pending. */
export class FrameQueue {
  readonly #step: FrameStep
  #waiting: Bytes[] = []
  #size = 0
  /** The frame that is being converted; later frames wait for it. */
  #current: Bytes | undefined
  #then: (() => void) | undefined

  constructor (step: FrameStep) {
    this.#step = step
  }

  /** Bytes of the waiting frames. */
  get size (): number { return this.#size }

  push (frame: Bytes): void {
    if (this.#current === undefined) return this.#take(frame)
    this.#waiting.push(frame)
    this.#size += frame.length
  }

  /** Calls `then` after all earlier frames were delivered; at once if none waits. */
  end (then: () => void): void {
    if (this.#current === undefined) then()
    else this.#then = then
  }

  /** Empties the queue. @returns the frames that were not delivered */
  clear (): Bytes[] {
    const left = this.#current === undefined ? [] : [this.#current, ...this.#waiting]
    this.#waiting = []
    this.#size = 0
    this.#current = this.#then = undefined
    return left
  }

  #take (frame: Bytes): void {
    try {
      const converted = this.#step.convert(frame)
      if (!(converted instanceof Promise)) return this.#step.deliver(converted, frame)
      this.#current = frame
      void this.#wait(frame, converted)
    } catch (error) {
      this.#step.failed(error)
    }
  }

  async #wait (frame: Bytes, converting: Promise<Bytes>): Promise<void> {
    for (let next: Bytes | undefined = frame; next !== undefined; next = this.#waiting.shift()) {
      if (next !== frame) {
        this.#size -= next.length
        this.#current = next
      }
      try {
        const converted = await (next === frame ? converting : this.#step.convert(next))
        if (this.#current !== next) return // cleared
        this.#step.deliver(converted, next)
      } catch (error) {
        if (this.#current !== next) return
        this.#step.failed(error)
      }
      if (this.#current !== next) return
    }
    this.#current = undefined
    const then = this.#then
    this.#then = undefined
    then?.()
  }
}
