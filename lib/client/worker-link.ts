import type { Welcome } from '../protocol/messages.js'
import type { Message } from './codec.js'
import type { ConnectionState, Failure, Link, LinkEvents, LinkOptions } from './link.js'

/** What the page tells the worker. */
export type ToWorker =
  | { type: 'open', options: LinkOptions }
  | { type: 'send', opcode: number, correlationId: number, json: string }
  | { type: 'close' }

/** What the worker tells the page. */
export type FromWorker =
  | { type: 'ready' }
  | { type: 'state', state: ConnectionState, welcome?: Welcome, failure?: Failure }
  | { type: 'message', message: Message }
  | { type: 'problem', failure: Failure }

interface WorkerLike {
  onmessage: ((event: { data: FromWorker }) => void) | null
  onerror: ((event: { message?: string, preventDefault?: () => void }) => void) | null
  postMessage (message: ToWorker): void
  terminate (): void
}

type WorkerConstructor = new (url: string) => WorkerLike

/** The page's Worker, where there is one. */
export function workerConstructor (): WorkerConstructor | undefined {
  return (globalThis as { Worker?: WorkerConstructor }).Worker
}

/** A link whose socket, decompression and JSON parsing run in a Web Worker. */
export class WorkerLink implements Link {
  readonly #url: string
  readonly #options: LinkOptions
  readonly #events: LinkEvents
  readonly #fallback: ((why: string) => Link) | undefined
  #worker: WorkerLike | undefined
  #replacement: Link | undefined
  #isReady = false

  /** @param fallback makes the link that takes over where the worker cannot be loaded; without it that is an error */
  constructor (url: string, options: LinkOptions, events: LinkEvents, fallback: ((why: string) => Link) | undefined) {
    this.#url = url
    this.#options = options
    this.#events = events
    this.#fallback = fallback
  }

  open (): void {
    try {
      const Worker = workerConstructor()!
      const worker = new Worker(this.#url)
      this.#worker = worker
      worker.onmessage = ({ data }) => { this.#receive(data) }
      worker.onerror = (event) => {
        event.preventDefault?.()
        if (this.#isReady) this.#events.onProblem({ code: 'WORKER_FAILED', message: event.message ?? 'the Web Worker failed' })
        else this.#unavailable(event.message ?? `${this.#url} could not be loaded`)
      }
      worker.postMessage({ type: 'open', options: this.#options })
    } catch (error) {
      this.#unavailable(String(error))
    }
  }

  send (opcode: number, correlationId: number, json: string): void {
    if (this.#replacement !== undefined) this.#replacement.send(opcode, correlationId, json)
    else this.#worker?.postMessage({ type: 'send', opcode, correlationId, json })
  }

  close (): void {
    if (this.#replacement !== undefined) return this.#replacement.close()
    // a worker that has not said anything may never: it is ended from here
    if (this.#isReady) {
      this.#worker?.postMessage({ type: 'close' })
    } else {
      this.#dispose()
      this.#events.onState('disconnected')
    }
  }

  #receive (message: FromWorker): void {
    if (message.type === 'ready') this.#isReady = true
    else if (message.type === 'message') this.#events.onMessage(message.message)
    else if (message.type === 'problem') this.#events.onProblem(message.failure)
    else {
      if (message.state === 'disconnected') this.#dispose()
      this.#events.onState(message.state, message.welcome, message.failure)
    }
  }

  #unavailable (why: string): void {
    this.#dispose()
    if (this.#fallback === undefined) {
      const failure = { code: 'WORKER_FAILED', message: `the Web Worker cannot be used: ${why}; set workerUrl, or useWorker: false` }
      this.#events.onProblem(failure)
      return this.#events.onState('disconnected', undefined, failure)
    }
    this.#replacement = this.#fallback(why)
    this.#replacement.open()
  }

  #dispose (): void {
    this.#worker?.terminate()
    this.#worker = undefined
  }
}
