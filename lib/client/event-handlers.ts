import { checkHandler } from '../protocol/errors.js'
import type { ServerEvent } from '../protocol/messages.js'

/** An event of the server; `timestamp` is Unix time in ms. */
export type EventHandler<T = unknown> = (message: { event: string, data: T, timestamp: number }) => void

/** Who hears which event. */
export class EventHandlers {
  readonly #handlers = new Map<string, Set<EventHandler>>()
  readonly #onError: (error: unknown) => void

  /** @param onError told of what a handler throws; the others still run */
  constructor (onError: (error: unknown) => void) {
    this.#onError = onError
  }

  on (event: string, handler: EventHandler): void {
    checkHandler(`on("${event}")`, handler)
    let handlers = this.#handlers.get(event)
    if (handlers === undefined) this.#handlers.set(event, handlers = new Set())
    handlers.add(handler)
  }

  off (event: string, handler: EventHandler): void {
    const handlers = this.#handlers.get(event)
    if (handlers?.delete(handler) === true && handlers.size === 0) this.#handlers.delete(event)
  }

  receive (message: ServerEvent): void {
    for (const handler of [...this.#handlers.get(message.event) ?? []]) {
      try {
        handler(message)
      } catch (error) {
        this.#onError(error)
      }
    }
  }
}
