import { messageOf } from '../protocol/errors.js'
import { backoff } from './backoff.js'
import type { Failure, Link, LinkEvents, LinkOptions, PageEvent } from './link.js'

/** A link over a WebSocket on this thread. It loads the code when it is opened, and retries if that fails. */
export class ThreadLink implements Link {
  readonly #load: () => Promise<Link>
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  #link: Link | undefined
  #attempts = 0
  #retry: ReturnType<typeof setTimeout> | undefined
  #isClosed = false

  constructor (load: () => Promise<Link>, options: LinkOptions, events: LinkEvents) {
    this.#load = load
    this.#options = options
    this.#events = events
  }

  open (): void {
    this.#events.onState('connecting')
    if (!this.#isClosed) void this.#open()
  }

  async #open (): Promise<void> {
    this.#retry = undefined
    let link
    try {
      link = await this.#load()
    } catch (error) {
      return this.#failed({ code: 'CONNECT_FAILED', message: `the socket's code could not be loaded: ${messageOf(error)}` })
    }
    if (this.#isClosed) return
    this.#link = link
    link.open()
  }

  send (opcode: number, correlationId: number, json: string): void { this.#link?.send(opcode, correlationId, json) }

  offer (protocols: string[] | Failure): void { this.#link?.offer(protocols) }

  page (event: PageEvent): void {
    if (this.#link !== undefined) return this.#link.page(event)
    if (event !== 'wake' || this.#retry === undefined || this.#isClosed) return
    clearTimeout(this.#retry)
    void this.#open()
  }

  close (): void {
    if (this.#link === undefined) this.#end()
    else this.#link.close()
  }

  #failed (failure: Failure): void {
    if (this.#isClosed) return
    const { reconnect, reconnectInterval, maxReconnectAttempts } = this.#options
    if (!reconnect || this.#attempts >= maxReconnectAttempts) return this.#end(failure)
    this.#retry = setTimeout(() => { void this.#open() }, backoff(++this.#attempts, reconnectInterval))
    this.#events.onState('reconnecting', undefined, failure)
  }

  #end (failure?: Failure): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearTimeout(this.#retry)
    this.#events.onState('disconnected', undefined, failure)
  }
}
