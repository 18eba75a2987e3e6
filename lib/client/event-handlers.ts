import { DatasoleError, checkHandler } from '../protocol/errors.js'
import { type DeepReadonly, deepFreeze } from '../protocol/frozen.js'
import type { ServerEvent } from '../protocol/messages.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import type { Compact } from './codec.js'

/** Handles an event from the server. The event is frozen, because handlers share it. `timestamp` is Unix time in ms. */
export type EventHandler<T = unknown> = (message: { readonly event: string, readonly data: DeepReadonly<T>, readonly timestamp: number }) => void

interface Registered { handler: EventHandler }

/** The handlers of events, by name. */
export class EventHandlers {
  readonly #handlers = new Map<string, Registered[]>()
  readonly #onError: (error: unknown) => void
  /** The names of events, by the number that the server assigned on this connection. */
  #names = new Map<number, string>()
  /** Unix time in ms to which compact events add their offset. */
  #at = 0

  /** @param onError gets errors that handlers throw; other handlers still run */
  constructor (onError: (error: unknown) => void) {
    this.#onError = onError
  }

  on (event: string, handler: EventHandler): Unsubscribe {
    checkHandler(`on("${event}")`, handler)
    const registered = { handler }
    this.#handlers.set(event, [...this.#handlers.get(event) ?? [], registered])
    return unsubscriber(() => { this.#remove(event, registered) })
  }

  /** Removes the latest subscription of this handler. */
  off (event: string, handler: EventHandler): void {
    this.#remove(event, this.#handlers.get(event)?.findLast((registered) => registered.handler === handler))
  }

  /** Forgets the numbers of the last connection. */
  connected (at = 0): void {
    this.#names = new Map()
    this.#at = at
  }

  receive ({ n, ...message }: ServerEvent): void {
    if (n !== undefined) this.#names.set(n, message.event)
    this.#deliver(message)
  }

  /** @throws DatasoleError `BAD_FRAME` if the number was not assigned to an event */
  receiveCompact ({ first, second, data }: Compact): void {
    const event = this.#names.get(first)
    if (event === undefined) throw new DatasoleError('BAD_FRAME', `the server sent event number ${first}, which has no name`)
    const timestamp = this.#at + second
    this.#deliver(data === undefined ? { event, timestamp } : { event, data, timestamp })
  }

  #deliver (message: Pick<ServerEvent, 'event' | 'timestamp'> & { data?: unknown }): void {
    const handlers = this.#handlers.get(message.event)
    if (handlers === undefined) return
    deepFreeze(message)
    for (const { handler } of handlers) {
      try {
        handler(message as ServerEvent)
      } catch (error) {
        this.#onError(error)
      }
    }
  }

  #remove (event: string, registered: Registered | undefined): void {
    const left = this.#handlers.get(event)?.filter((each) => each !== registered) ?? []
    if (left.length === 0) this.#handlers.delete(event)
    else this.#handlers.set(event, left)
  }
}
