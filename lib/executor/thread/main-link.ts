import { inspect } from 'node:util'
import type { MessagePort } from 'node:worker_threads'
import { DatasoleError } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import type { Logger } from '../../server/context/logger.js'
import { ThreadTrace } from '../../metrics/thread-trace.js'
import { type BatchFromWorker, type ErrorCopy, FromWorker, type Totals, reviveError } from '../thread-messages.js'
import { PortOutbox } from '../port-outbox.js'

/** Maximum number of requests to the main thread, and of log lines, in flight. */
const MAX_REQUESTS = 1000
const MAX_LINES = 1000

interface Waiting { resolve (result: unknown): void, reject (error: Error): void }

/** A thread's link to the main thread: requests with answers, and log lines. */
export class MainLink {
  readonly outbox: PortOutbox<BatchFromWorker[0], FromWorker>
  readonly totals: Totals = [0, 0, 0, 0]
  readonly trace = new ThreadTrace()
  /** Waiting times of tasks in ms; undefined while they are not recorded. */
  waits: number[] | undefined
  readonly #levels: string[]
  readonly #waiting = new Map<number, Waiting>()
  #lastId = 0
  #lines = 0
  #dropped = 0

  constructor (port: MessagePort, levels: string[]) {
    this.#levels = levels
    this.outbox = new PortOutbox<BatchFromWorker[0], FromWorker>(port, () => this.#head())
  }

  #head (): BatchFromWorker[0] {
    const totals: Totals = [...this.totals]
    if (this.waits === undefined || this.waits.length === 0) return { totals }
    const { waits } = this
    this.waits = []
    return { totals, waits }
  }

  /**
   * Sends a request to the server; see `workerServices`.
   * @throws the server's error; DatasoleError `BUSY` if 1,000 requests are in flight
   */
  request (name: string, ...args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.size >= MAX_REQUESTS) throw new DatasoleError('BUSY', `${MAX_REQUESTS} requests of this thread to the main thread already wait for answers; try again later`)
      // JSON arrays cannot have undefined items
      const text = stringify(args.map((arg) => arg ?? null))!
      const id = ++this.#lastId
      this.#waiting.set(id, { resolve, reject })
      const traceparent = this.trace.traceparent()
      this.outbox.push(traceparent === undefined ? [FromWorker.REQUEST, id, name, text] : [FromWorker.REQUEST, id, name, text, traceparent])
    })
  }

  replied (id: number, result: string | undefined, error: ErrorCopy | undefined): void {
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if (error === undefined) waiting?.resolve(result === undefined ? undefined : JSON.parse(result))
    else waiting?.reject(reviveError(error))
  }

  /** Called when the main thread has written `count` log lines. */
  logged (count: number): void {
    this.#lines -= count
    if (this.#dropped === 0) return
    const dropped = this.#dropped
    this.#dropped = 0
    this.#log('warn', {}, `${dropped} log lines of a worker thread were dropped: it logs faster than the main thread writes`)
  }

  /** A logger that writes to the server's log, with these bindings. */
  logger (bindings: Record<string, unknown>): Logger {
    const at = (level: string) => (...args: [object | string, string?]): void => {
      if (!this.#levels.includes(level)) return
      const [first, second] = args
      if (typeof first === 'string') this.#log(level, bindings, first)
      else this.#log(level, { ...bindings, ...first instanceof Error ? { err: first } : first }, second)
    }
    return {
      fatal: at('fatal'),
      error: at('error'),
      warn: at('warn'),
      info: at('info'),
      debug: at('debug'),
      trace: at('trace'),
      child: (more) => this.logger({ ...bindings, ...more })
    }
  }

  #log (level: string, data: object, message: string | undefined): void {
    if (this.#lines >= MAX_LINES) {
      this.#dropped++
      return
    }
    this.#lines++
    this.outbox.push([FromWorker.LOG, level, textOf(data), message === undefined ? undefined : String(message)])
  }
}

/** The JSON of a log line. An error becomes its type, message and stack. */
function textOf (data: object): string {
  try {
    return JSON.stringify(data, (_key, value: unknown) => value instanceof Error ? { type: value.name, ...value as object, message: value.message, stack: value.stack } : value) ?? '{}'
  } catch {
    return JSON.stringify({ data: inspect(data) }) // a cycle, a BigInt
  }
}
