import { checkHandler, isThenable } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { Operation } from '../../protocol/messages.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { Logger } from '../context/logger.js'

/**
 * Gets a flush: a copy of the value, the patches since the last flush, and a connection. The connection is the owner of
 * the value in a channel `client-to-server`, and null in others.
 */
export type FlushHandler<T = unknown> = (value: T | undefined, patches: Operation[], connection: ConnectionContext | null) => void | Promise<void>

export interface Flushed { value: unknown, patches: Operation[] }

/** The flush handlers of a channel. If one throws or rejects, the error is logged, and the others still run. */
export class FlushHandlers {
  readonly #handlers = new Set<{ handler: FlushHandler }>()
  readonly #key: string
  readonly #log: Logger
  /** Flushes whose asynchronous handlers have not settled. */
  running = 0

  constructor (key: string, log: Logger) {
    this.#key = key
    this.#log = log
  }

  get size (): number { return this.#handlers.size }

  add (handler: FlushHandler): Unsubscribe {
    checkHandler(`onFlush of "${this.#key}"`, handler)
    const own = { handler }
    this.#handlers.add(own)
    return unsubscriber(() => { this.#handlers.delete(own) })
  }

  /** Returns a promise, which never rejects, if a handler is asynchronous. */
  run (flushed: Flushed, connection: ConnectionContext | null): Promise<unknown> | undefined {
    const failed = (error: unknown): void => { this.#log.error({ err: error, key: this.#key, connectionId: connection?.connectionId }, 'an onFlush handler failed') }
    const running: PromiseLike<unknown>[] = []
    // each handler may change its copy, so all but the last get a clone
    const told = Array.from(this.#handlers, ({ handler }, i) => ({ handler, ...i < this.#handlers.size - 1 ? clonePlain(flushed) : flushed }))
    for (const { handler, value, patches } of told) {
      try {
        const result: unknown = handler(value, patches as Operation[], connection)
        if (isThenable(result)) running.push(result.then(undefined, failed))
      } catch (error) {
        failed(error)
      }
    }
    if (running.length === 0) return undefined
    this.running++
    return Promise.all(running).then(() => { this.running-- })
  }
}

/**
 * Runs the flushes of one value one after the other. Changes that arrive while asynchronous handlers run are joined
 * into the next flush, so that flushes neither overtake each other nor pile up.
 */
export class FlushQueue {
  readonly #handlers: FlushHandlers
  readonly #connection: ConnectionContext | null
  readonly #take: () => Flushed | undefined
  #current: Promise<void> | undefined
  #isDue = false

  /** @param take returns the changes since its last call, or undefined if there are none */
  constructor (handlers: FlushHandlers, connection: ConnectionContext | null, take: () => Flushed | undefined) {
    this.#handlers = handlers
    this.#connection = connection
    this.#take = take
  }

  due (): void {
    this.#isDue = true
    while (this.#isDue && this.#current === undefined) {
      this.#isDue = false
      const flushed = this.#take()
      if (flushed === undefined || this.#handlers.size === 0) return
      this.#current = this.#handlers.run(flushed, this.#connection)?.then(() => {
        this.#current = undefined
        if (this.#isDue) this.due()
      })
    }
  }

  /** Resolves when the handlers have run for all due flushes. */
  async settled (): Promise<void> {
    while (this.#current !== undefined) await this.#current
  }
}
