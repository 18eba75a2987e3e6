import type { ErrorMessage } from '../../protocol/messages.js'
import { type ClientOpcode, Opcode } from '../../protocol/opcodes.js'
import { ABNORMAL, type CloseReason } from '../auth/pending-upgrades.js'
import type { Core } from '../core.js'
import type { Callers } from './callers.js'
import type { ServerFrame } from './frame-stream.js'
import { HttpConnection, type HttpRequest, type Receiver } from './http-connection.js'
import { HttpRefusal } from './http-refusal.js'

interface Waiting {
  readonly opcodes: readonly number[]
  readonly timer: NodeJS.Timeout | undefined
  resolve (frame: ServerFrame | undefined): void
  reject (error: HttpRefusal): void
}

/** A request that is answered by what the server says to one frame. */
export class Exchange implements Receiver {
  #http: HttpConnection | undefined
  #waiting: Waiting | undefined
  /** The newest frame for which nobody waited yet. Only how things stand counts, so that one is enough. */
  #newest: ServerFrame | undefined
  #ending: CloseReason | undefined
  #onEnd: ((ending: CloseReason) => void) | undefined

  private constructor () {}

  /** @throws HttpRefusal where the request is not let in */
  static async open (core: Core, callers: Callers, request: HttpRequest): Promise<Exchange> {
    const exchange = new Exchange()
    const http = exchange.#http = await HttpConnection.open(core, callers, request, exchange)
    if (exchange.#ending !== undefined) {
      http.leave(exchange.#ending.code)
      throw HttpRefusal.closed(exchange.#ending)
    }
    request.response.once('close', () => { exchange.#end({ code: ABNORMAL, reason: 'the client has gone' }) })
    return exchange
  }

  get http (): HttpConnection { return this.#http! }

  /**
   * Sends a frame, and waits for an answer of one of some kinds.
   * @param ms after which it waits no longer; default for ever
   * @throws HttpRefusal for an ERROR frame, and where the connection is closed
   * @returns undefined if no answer came in time
   */
  ask (opcode: ClientOpcode, json: string | Buffer, opcodes: readonly number[], ms?: number): Promise<ServerFrame | undefined> {
    this.#newest = undefined
    const answer = this.next(opcodes, ms)
    this.http.send(opcode, json)
    return answer
  }

  /** Waits for the next frame of one of some kinds: see `ask`. One that nobody waited for counts. */
  next (opcodes: readonly number[], ms?: number): Promise<ServerFrame | undefined> {
    return new Promise((resolve, reject) => {
      const timer = ms === undefined ? undefined : setTimeout(() => { this.#settle(undefined) }, ms)
      timer?.unref()
      this.#waiting = { opcodes, timer, resolve, reject }
      const frame = this.#newest
      this.#newest = undefined
      if (this.#ending !== undefined) this.#fail(HttpRefusal.closed(this.#ending))
      else if (frame !== undefined) this.take(frame)
    })
  }

  /**
   * Waits for a step of the request, and no longer than it lasts: nothing is done for a user who was disconnected since.
   * @throws HttpRefusal where the connection is closed, or the client has gone; whatever the step throws
   */
  async during<T> (step: T | Promise<T>): Promise<T> {
    const over = new Promise<never>((_resolve, reject) => { this.#onEnd = (ending) => { reject(HttpRefusal.closed(ending)) } })
    if (this.#ending !== undefined) this.#onEnd?.(this.#ending)
    try {
      // the end first, where both are there
      return await Promise.race([over, step])
    } finally {
      this.#onEnd = undefined
    }
  }

  take (frame: ServerFrame): undefined {
    const { opcode } = frame
    if (this.#waiting?.opcodes.includes(opcode) === true) this.#settle(frame)
    else if (opcode === Opcode.ERROR && this.#waiting?.opcodes.includes(Opcode.RPC_RES) !== true) this.#fail(refusalOf(frame))
    else if (STATE.includes(opcode)) this.#newest = frame
  }

  closed (ending: CloseReason): void {
    this.#end(ending)
    // the connection is still in the middle of closing
    queueMicrotask(() => { this.#http?.leave(ending.code) })
  }

  #end (ending: CloseReason): void {
    this.#ending ??= ending
    this.#onEnd?.(this.#ending)
    // most requests have been answered by then
    if (this.#waiting !== undefined) this.#fail(HttpRefusal.closed(this.#ending))
  }

  #settle (frame: ServerFrame | undefined): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    clearTimeout(waiting?.timer)
    waiting?.resolve(frame)
  }

  #fail (error: HttpRefusal): void {
    const waiting = this.#waiting
    this.#waiting = undefined
    clearTimeout(waiting?.timer)
    waiting?.reject(error)
  }
}

/** Frames that tell of a key. */
export const STATE: readonly number[] = [Opcode.STATE_SNAPSHOT, Opcode.STATE_PATCH, Opcode.CRDT_STATE, Opcode.CRDT_OP]

/** The answer of an ERROR frame. */
export function refusalOf ({ payload }: ServerFrame): HttpRefusal {
  const { code, message, ...more } = JSON.parse(payload.toString()) as ErrorMessage
  return HttpRefusal.of(code, message, more)
}
