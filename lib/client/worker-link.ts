import { messageOf } from '../protocol/errors.js'
import type { Welcome } from '../protocol/messages.js'
import type { Bytes } from './codec.js'
import type { ConnectionState, Failure, Link, LinkEvents, LinkOptions, PageEvent } from './link.js'
import { type StartWorker, type WorkerLike } from './load-worker.js'

/** Timeout in ms for the worker's script to load and run. */
const LOAD_TIMEOUT = 10_000

type Outgoing = [opcode: number, correlationId: number, json: string]

/** A message from the page to the worker. */
export type ToWorker =
  | { type: 'open', options: LinkOptions }
  | { type: 'offer', protocols: string[] | Failure }
  /** The messages of one tick. */
  | { type: 'send', messages: Outgoing[] }
  | { type: 'page', event: PageEvent }
  | { type: 'close' }

/** A message from the worker to the page. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'state', state: ConnectionState, welcome?: Welcome, failure?: Failure }
  /** The frames of one tick, inflated. */
  | { type: 'frames', frames: Bytes[] }
  | { type: 'unsent', correlationId: number, failure: Failure }
  | { type: 'problem', failure: Failure }
  /** Asks the page for the token: see `LinkEvents.onOffer`. */
  | { type: 'offer' }

/**
 * A link whose socket and inflater run in a Web Worker. JSON is parsed on this thread, because that takes less of its
 * time than receiving a copy of the parsed value.
 */
export class WorkerLink implements Link {
  readonly #start: StartWorker
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #fallback: ((why: string) => Link) | undefined
  #worker: WorkerLike<FromWorker, ToWorker> | undefined
  #settled: (() => void) | undefined
  #replacement: Link | undefined
  #loadTimer: ReturnType<typeof setTimeout> | undefined
  #isReady = false
  #isClosed = false
  /** Messages of the current tick, sent together at its end. */
  #unsent: Outgoing[] = []

  /** @param fallback makes a link to use if the worker fails to load; undefined: the failure is an error */
  constructor (start: StartWorker, options: LinkOptions, events: LinkEvents, fallback: ((why: string) => Link) | undefined) {
    this.#start = start
    this.#options = options
    this.#events = events
    this.#fallback = fallback
  }

  open (): void {
    this.#events.onState('connecting')
    if (this.#isClosed) return
    try {
      const { worker, name, settled } = this.#start() as ReturnType<StartWorker<FromWorker, ToWorker>>
      this.#worker = worker
      this.#settled = settled
      worker.onmessage = ({ data }) => { this.#receive(data) }
      worker.onerror = (event) => {
        event.preventDefault?.()
        if (this.#isReady) this.#events.onProblem({ code: 'WORKER_FAILED', message: event.message ?? 'the Web Worker failed' })
        else this.#unavailable(event.message ?? `${name} could not be loaded`)
      }
      this.#loadTimer = setTimeout(() => { this.#unavailable(`${name} did not answer within ${LOAD_TIMEOUT} ms`) }, LOAD_TIMEOUT)
      worker.postMessage({ type: 'open', options: this.#options })
    } catch (error) {
      this.#unavailable(messageOf(error))
    }
  }

  send (opcode: number, correlationId: number, json: string): void {
    if (this.#replacement !== undefined) return this.#replacement.send(opcode, correlationId, json)
    if (this.#unsent.push([opcode, correlationId, json]) === 1) queueMicrotask(() => { this.#flush() })
  }

  offer (protocols: string[] | Failure): void {
    if (this.#replacement !== undefined) this.#replacement.offer(protocols)
    else this.#worker?.postMessage({ type: 'offer', protocols })
  }

  page (event: PageEvent): void {
    if (this.#replacement !== undefined) return this.#replacement.page(event)
    this.#flush()
    this.#worker?.postMessage({ type: 'page', event })
  }

  close (): void {
    if (this.#replacement !== undefined) return this.#replacement.close()
    const worker = this.#worker
    // a worker that is not ready may hang: terminate it
    if (worker === undefined || !this.#isReady) return this.#end()
    // terminate the worker once it has closed its socket; ignore its other messages
    worker.onerror = null
    worker.onmessage = ({ data }) => { if (data.type === 'state' && data.state === 'disconnected') worker.terminate() }
    this.#flush()
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
      case 'frames':
        for (const frame of message.frames) if (this.#worker !== undefined) this.#events.onFrame(frame)
        return
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

  #flush (): void {
    const messages = this.#unsent
    if (messages.length === 0) return
    this.#unsent = []
    this.#worker?.postMessage({ type: 'send', messages })
  }

  #unavailable (why: string): void {
    if (this.#fallback === undefined) {
      return this.#end({ code: 'WORKER_UNAVAILABLE', message: `the Web Worker cannot be used: ${why}; set workerUrl or useWorker: false` })
    }
    this.#dispose()
    const replacement = this.#fallback(why)
    if (this.#isClosed) return // a handler of the failure closed the link
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
    const worker = this.#worker
    this.#worker = undefined
    if (worker === undefined) return
    worker.terminate()
    // messages that it sent before may still arrive
    worker.onmessage = worker.onerror = null
  }
}
