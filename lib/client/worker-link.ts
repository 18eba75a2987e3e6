import { messageOf } from '../protocol/errors.js'
import type { Welcome } from '../protocol/messages.js'
import type { Message } from './codec.js'
import type { ConnectionState, Failure, Link, LinkEvents, LinkOptions } from './link.js'
import { type WorkerLike, loadWorker } from './load-worker.js'

/** ms that the worker's script may take to load and run. */
const LOAD_TIMEOUT = 10_000

/** A message from the page to the worker. */
export type ToWorker =
  | { type: 'open', options: LinkOptions }
  | { type: 'offer', protocols: string[] | Failure }
  | { type: 'send', opcode: number, correlationId: number, json: string }
  | { type: 'close' }

/** A message from the worker to the page. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'state', state: ConnectionState, welcome?: Welcome, failure?: Failure }
  | { type: 'message', message: Message }
  | { type: 'unsent', correlationId: number, failure: Failure }
  | { type: 'problem', failure: Failure }
  /** Asks the page for the token: see `LinkEvents.onOffer`. */
  | { type: 'offer' }

/** A link whose socket, decompression and JSON parsing run in a Web Worker. */
export class WorkerLink implements Link {
  readonly #url: string
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #fallback: ((why: string) => Link) | undefined
  #worker: WorkerLike<FromWorker, ToWorker> | undefined
  #settled: (() => void) | undefined
  #replacement: Link | undefined
  #loadTimer: ReturnType<typeof setTimeout> | undefined
  #isReady = false
  #isClosed = false

  /** @param fallback makes the link to use if the worker fails to load; without it that is an error */
  constructor (url: string, options: LinkOptions, events: LinkEvents, fallback: ((why: string) => Link) | undefined) {
    this.#url = url
    this.#options = options
    this.#events = events
    this.#fallback = fallback
  }

  open (): void {
    this.#events.onState('connecting')
    if (this.#isClosed) return
    try {
      const { worker, settled } = loadWorker<FromWorker, ToWorker>(this.#url)
      this.#worker = worker
      this.#settled = settled
      worker.onmessage = ({ data }) => { this.#receive(data) }
      worker.onerror = (event) => {
        event.preventDefault?.()
        if (this.#isReady) this.#events.onProblem({ code: 'WORKER_FAILED', message: event.message ?? 'the Web Worker failed' })
        else this.#unavailable(event.message ?? `${this.#url} could not be loaded`)
      }
      this.#loadTimer = setTimeout(() => { this.#unavailable(`${this.#url} said nothing within ${LOAD_TIMEOUT} ms`) }, LOAD_TIMEOUT)
      worker.postMessage({ type: 'open', options: this.#options })
    } catch (error) {
      this.#unavailable(messageOf(error))
    }
  }

  send (opcode: number, correlationId: number, json: string): void {
    if (this.#replacement !== undefined) this.#replacement.send(opcode, correlationId, json)
    else this.#worker?.postMessage({ type: 'send', opcode, correlationId, json })
  }

  offer (protocols: string[] | Failure): void {
    if (this.#replacement !== undefined) this.#replacement.offer(protocols)
    else this.#worker?.postMessage({ type: 'offer', protocols })
  }

  close (): void {
    if (this.#replacement !== undefined) return this.#replacement.close()
    const worker = this.#worker
    // a worker that is not ready may hang: terminate it
    if (worker === undefined || !this.#isReady) return this.#end()
    // it terminates once it has closed its socket; its other messages are ignored
    worker.onerror = null
    worker.onmessage = ({ data }) => { if (data.type === 'state' && data.state === 'disconnected') worker.terminate() }
    worker.postMessage({ type: 'close' })
    this.#worker = undefined
    this.#end()
  }

  #receive (message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#isReady = true
        this.#settled?.()
        return clearTimeout(this.#loadTimer)
      case 'message':
        return this.#events.onMessage(message.message)
      case 'unsent':
        return this.#events.onUnsent(message.correlationId, message.failure)
      case 'problem':
        return this.#events.onProblem(message.failure)
      case 'offer':
        return this.#events.onOffer()
      case 'state':
        if (message.state === 'disconnected') this.#end(message.failure)
        else this.#events.onState(message.state, message.welcome, message.failure)
    }
  }

  #unavailable (why: string): void {
    if (this.#fallback === undefined) {
      return this.#end({ code: 'WORKER_UNAVAILABLE', message: `the Web Worker cannot be used: ${why}; set workerUrl, or useWorker: false` })
    }
    this.#dispose()
    const replacement = this.#fallback(why)
    if (this.#isClosed) return // by a handler of the failure
    this.#replacement = replacement
    replacement.open()
  }

  #end (failure?: Failure): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#dispose()
    this.#events.onState('disconnected', undefined, failure)
  }

  #dispose (): void {
    clearTimeout(this.#loadTimer)
    if (!this.#isReady) this.#settled?.()
    this.#worker?.terminate()
    this.#worker = undefined
  }
}
