import { EventEmitter } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { CloseCode } from '../../protocol/codes.js'
import { encodeFrame } from '../../protocol/frame.js'
import type { ClientOpcode } from '../../protocol/opcodes.js'
import { type Admitted, admit } from '../auth/admission.js'
import { ABNORMAL, type CloseReason } from '../auth/pending-upgrades.js'
import { isAllowedOrigin } from '../config/origins.js'
import type { Connection } from '../connection/connection.js'
import { versionRefusal } from '../contract/contract-version.js'
import type { Core } from '../core.js'
import type { Callers } from './callers.js'
import { FrameStream, type ServerFrame } from './frame-stream.js'
import { HttpRefusal } from './http-refusal.js'

/** A request, with the addresses that the HTTP layer determined. */
export interface HttpRequest {
  raw: IncomingMessage
  ip: string
  host: string
  /** Fastify's request, for the auth handler. */
  request: unknown
  response: ServerResponse
}

/** Receives the frames that the server sends to a connection. */
export interface Receiver {
  /** Returns the text for a frame; must not throw. */
  take (frame: ServerFrame): string | undefined
  /** Called when the server closes the connection. */
  closed (ending: CloseReason): void
}

/** The correlation id of frames that a request sends. */
const ID = 1

/**
 * An HTTP request as a connection. It enters by `accept`, so its frame passes the same checks as one on a WebSocket. It
 * lasts until `leave`.
 */
export class HttpConnection {
  readonly connection: Connection
  readonly stream: FrameStream
  readonly #socket = new EventEmitter()
  #isOver = false

  private constructor (core: Core, callers: Callers, { context, expiry }: Admitted, receiver: Receiver) {
    this.stream = new FrameStream((frame) => receiver.take(frame))
    // a request that was cut off is normal
    this.stream.on('error', () => {})
    const socket = Object.assign(this.#socket, {
      close: (code: number, reason = '') => { receiver.closed({ code, reason }) },
      terminate: () => { this.leave(ABNORMAL) }
    })
    this.connection = core.accept(socket, this.stream, context, expiry)
    callers.lend(this.connection)
  }

  /**
   * Opens a connection for a request, after the checks of an upgrade: origin, authentication, `onConnect` hooks.
   * @throws HttpRefusal
   */
  static async open (core: Core, callers: Callers, request: HttpRequest, receiver: Receiver): Promise<HttpConnection> {
    const { raw, ip, host, response } = request
    checkOrigin(core, raw, host)
    const arrival = core.pendingUpgrades.begin()
    try {
      const isGone = (): boolean => response.destroyed || raw.socket.destroyed
      const admitted = await admit(core, { raw, ip, request: request.request, protocol: 2, transport: 'http', isGone })
      if (admitted === undefined) throw HttpRefusal.closed({ code: ABNORMAL, reason: 'the client has gone' })
      if ('error' in admitted) throw HttpRefusal.rejected(admitted)
      if (isGone() || core.isDraining) {
        core.connectHooks.departed(admitted.context, ABNORMAL)
        throw HttpRefusal.rejected({ status: 503, error: 'the server is going away' })
      }
      const opened = new HttpConnection(core, callers, admitted, receiver)
      opened.connection.carrier = raw.socket
      response.once('close', () => { opened.leave(ABNORMAL) })
      const ending = arrival.closeReasonOf(admitted.context.userId)
      if (ending !== undefined) opened.connection.close(ending.code, ending.reason)
      const mismatch = versionRefusal(core.settings.contract, raw.url!)
      if (mismatch !== undefined) opened.connection.close(CloseCode.CONTRACT_MISMATCH, mismatch)
      return opened
    } finally {
      arrival.end()
    }
  }

  get isOver (): boolean { return this.#isOver }

  /** Passes a frame to the server, as if a client had sent it. */
  send (opcode: ClientOpcode, json: string | Buffer): void {
    const frame = encodeFrame(opcode, ID, typeof json === 'string' ? Buffer.from(json) : json)
    this.#socket.emit('message', Buffer.from(frame.buffer), true)
  }

  /** Ends the connection, as if its socket had closed. May be called twice. */
  leave (code: number = CloseCode.NORMAL): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#socket.emit('close', code)
    this.stream.destroy()
  }
}

/** @throws HttpRefusal */
function checkOrigin ({ settings, isDraining, log, repeats }: Core, raw: IncomingMessage, host: string): void {
  if (isDraining) throw HttpRefusal.rejected({ status: 503, error: 'the server is going away' })
  let isAllowed
  try {
    isAllowed = isAllowedOrigin(settings.allowedOrigins, raw, host)
  } catch (error) {
    log.error({ err: error }, 'the function allowedOrigins failed')
    throw HttpRefusal.rejected({ status: 500, error: 'the origin cannot be checked' })
  }
  if (isAllowed) return
  repeats.warn({ origin: raw.headers.origin, host }, 'a request from a page of another origin was refused; to allow it, add the origin to the option allowedOrigins')
  throw HttpRefusal.rejected({ status: 403, error: 'origin not allowed' })
}
