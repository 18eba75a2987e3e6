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

/** A request that is answered by the server's answer to one frame. */
export class Exchange implements Receiver {
  #http: HttpConnection | undefined
  #waiting: Waiting | undefined
  /** The newest state frame that arrived while nobody waited. Older ones are out of date, so one is enough. */
  #newest: ServerFrame | undefined
  #ending: CloseReason | undefined
  #onEnd: ((ending: CloseReason) => void) | undefined

  private constructor () {}

  /** @throws HttpRefusal if the request is not admitted */
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
   * Sends a frame, and waits for a frame with one of the opcodes.
   * @param ms longest wait; default for ever
   * @throws HttpRefusal for an ERROR frame, and if the connection is closed
   * @returns undefined if no answer came in time
   */
  ask (opcode: ClientOpcode, json: string | Buffer, opcodes: readonly number[], ms?: number): Promise<ServerFrame | undefined> {
    this.#newest = undefined
    const answer = this.next(opcodes, ms)
    this.http.send(opcode, json)
    return answer
  }

  /** Waits for the next frame with one of the opcodes: see `ask`. A state frame that has arrived already counts. */
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
   * Waits for a step of the request, and rejects if the request ends first, for example by `disconnectUser`.
   * @throws HttpRefusal if the connection is closed, or the client has gone; whatever the step throws
   */
  async during<T> (step: T | Promise<T>): Promise<T> {
    const over = new Promise<never>((_resolve, reject) => { this.#onEnd = (ending) => { reject(HttpRefusal.closed(ending)) } })
    if (this.#ending !== undefined) this.#onEnd?.(this.#ending)
    try {
      // `over` first, so that it wins if both are settled
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
    // later, because the connection is still inside `close`
    queueMicrotask(() => { this.#http?.leave(ending.code) })
  }

  #end (ending: CloseReason): void {
    this.#ending ??= ending
    this.#onEnd?.(this.#ending)
    // nothing waits if the request has been answered
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

/** The opcodes of frames with the state of a key. */
export const STATE: readonly number[] = [Opcode.STATE_SNAPSHOT, Opcode.STATE_PATCH, Opcode.CRDT_STATE, Opcode.CRDT_OP]

/** The HTTP answer for an ERROR frame. */
export function refusalOf ({ payload }: ServerFrame): HttpRefusal {
  const { code, message, ...more } = JSON.parse(payload.toString()) as ErrorMessage
  return HttpRefusal.of(code, message, more)
}
