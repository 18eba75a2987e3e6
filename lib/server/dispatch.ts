import { randomUUID } from 'node:crypto'
import { CloseCode } from '../protocol/codes.js'
import { HEADER_SIZE, ZLIB_MAGIC, isWellFormed, readUint32 } from '../protocol/frame.js'
import { Opcode } from '../protocol/opcodes.js'
import type { Settings } from './config/settings.js'
import type { Connection } from './connection/connection.js'
import { receivedSize } from './connection/encoding.js'
import type { FrameHandler, FrameHandlers, Limit } from './connection/frame-handler.js'
import { InboundQueue, type Wait } from './connection/inbound-queue.js'
import { BrokenStream, inflate, inflateHead } from './connection/inflate.js'
import { BadFrame } from './connection/payload.js'
import type { Logger } from './context/logger.js'
import { Refusal } from './errors/refusal.js'
import type { FrameLimiter } from './limits/frame-limiter.js'
import type { Metrics } from './metrics/metrics.js'
import type { Scope } from './scope/scope.js'

/**
 * Most bytes of a frame that no rate limit counts: enough for a key with every character escaped. Without a bound,
 * 16 KiB on the wire could inflate to 16 MiB again and again, free of charge.
 */
const MAX_FREE = 64 * 1024

/** `retryAfter` (ms) of a refusal because too many frames wait. */
const RETRY = 100

const NO_HEAD = Buffer.alloc(0)

/** Handles every frame: inflates, checks, parses and counts it once, then passes it to its handler. */
export class Dispatch {
  readonly #settings: Settings
  readonly #metrics: Metrics
  readonly #log: Logger
  readonly #limiterOf: (scope: Scope | undefined) => FrameLimiter
  /** Indexed by opcode, the first byte of a frame. */
  readonly #handlers: ReadonlyArray<FrameHandler | undefined>

  /** @param limiterOf returns the rate limits of a scope; undefined stands for the root */
  constructor (frames: FrameHandlers, limiterOf: (scope: Scope | undefined) => FrameLimiter, settings: Settings, metrics: Metrics, log: Logger) {
    this.#settings = settings
    this.#metrics = metrics
    this.#log = log
    this.#limiterOf = limiterOf
    this.#handlers = Object.assign(new Array<FrameHandler | undefined>(256).fill(undefined), frames)
  }

  /** Handles a message from a client. It never throws. */
  receive (connection: Connection, data: Buffer, isBinary: boolean): void {
    if (!connection.isOpen) return
    this.#metrics.messagesIn++
    this.#metrics.bytesIn += receivedSize(data.length)
    if (!isBinary) return connection.refuseFrame(0, 'the protocol has no text messages', CloseCode.UNSUPPORTED_DATA)
    if (data.length > this.#settings.maxPayload + HEADER_SIZE) return connection.close(CloseCode.TOO_BIG, 'frame over maxPayload')
    let head: Buffer = NO_HEAD
    try {
      let frame: Buffer | undefined = data
      if (data[0] === ZLIB_MAGIC) {
        const { maxInflatedSize } = this.#settings
        const retryAfter = connection.work.inflation.wait(maxInflatedSize)
        if (retryAfter > 0) return this.#busy(connection, inflateHead(data), 'the frames of this connection inflate to too many bytes per second', retryAfter)
        frame = inflate(data, maxInflatedSize)
        connection.work.inflation.count(frame?.length ?? maxInflatedSize)
        if (frame === undefined) {
          head = inflateHead(data)
          throw new BadFrame(`frame inflates to more than ${maxInflatedSize} bytes`, 'PAYLOAD_TOO_LARGE')
        }
      }
      if (!isWellFormed(frame)) throw new BadFrame('the frame is truncated, or its declared length is wrong')
      head = frame
      this.#metrics.tap?.received(connection, frame, data.length)
      this.#admit(connection, frame)
    } catch (error) {
      this.#failed(connection, head, error)
    }
  }

  /** Parses and counts a frame. Handles it at once, unless a store has to decide or earlier frames wait. */
  #admit (connection: Connection, frame: Buffer): void {
    const opcode = frame[0]!
    const handler = this.#handlers[opcode]
    if (connection.inbound?.hasRoomFor(frame.length, this.#settings.maxInflatedSize) === false && handler?.isUrgent !== true) {
      return this.#busy(connection, frame, 'too many frames wait for the rate limit', RETRY)
    }
    if (opcode > Opcode.CRDT_STATE && connection.protocol === 1) throw new BadFrame('the opcode needs protocol version 2')
    if (handler === undefined) throw new BadFrame(`opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown, or not for clients to send`)
    const { charge } = handler
    if (charge === undefined && frame.length > MAX_FREE) throw new BadFrame(`a frame of this kind has at most ${MAX_FREE} bytes`)
    const message = handler.read(frame, readUint32(frame, 1))
    if (charge === undefined) return this.#inTurn(connection, frame, handler, message, 0)
    const limiter = this.#limiterOf(charge.scopeOf(message))
    const limit = charge.limitOf(limiter, message)
    this.#inTurn(connection, frame, handler, message, limiter.admit(connection, limit, charge, message), limiter, limit)
  }

  #inTurn (connection: Connection, frame: Buffer, handler: FrameHandler, message: unknown, decision: Wait | Promise<Wait>, limiter?: FrameLimiter, limit?: Limit): void {
    if (typeof decision === 'number' && (connection.inbound === undefined || handler.isUrgent === true)) {
      return this.#handOn(connection, frame, handler, message, decision, limiter, limit)
    }
    const began = this.#metrics.begin()
    ;(connection.work.inbound ??= new InboundQueue(() => { connection.work.inbound = undefined })).add(frame.length, decision, (wait) => {
      this.#metrics.end('queue', 'frame', began)
      if (connection.isOpen) this.#handOn(connection, frame, handler, message, wait, limiter, limit)
    })
  }

  #handOn (connection: Connection, frame: Buffer, handler: FrameHandler, message: unknown, wait: Wait, limiter: FrameLimiter | undefined, limit: Limit | undefined): void {
    try {
      if (wait === 0) return handler.handle(connection, readUint32(frame, 1), message, frame.length)
      limiter!.refused(connection, limit)
      this.#refuse(handler, connection, frame, new Refusal('RATE_LIMITED', 'rate limit exceeded', { retryAfter: wait }), message)
    } catch (error) {
      if (error instanceof Refusal) this.#refuse(handler, connection, frame, error, message)
      else this.#failed(connection, frame, error)
    }
  }

  /** @param head the start of the frame; empty if it cannot be decoded */
  #failed (connection: Connection, head: Buffer, error: unknown): void {
    const handler = this.#handlerOf(head)
    if (error instanceof BadFrame || error instanceof BrokenStream) {
      const code = error instanceof BadFrame ? error.code : 'BAD_FRAME'
      connection.refuseFrame(idOf(head), error.message, undefined, code)
      // a call gets its own answer as well, because clients of version 1 ignore ERROR
      if (handler?.refuse !== undefined) refuse(handler, connection, head, new Refusal(code, error.message))
      return
    }
    const id = randomUUID()
    this.#log.error({ err: error, id, connectionId: connection.id }, 'a frame could not be handled')
    refuse(handler, connection, head, new Refusal('INTERNAL', 'the frame could not be handled', { id }))
  }

  /** Refuses a frame for lack of room. It counts as a refusal, so that a client that continues is closed. */
  #busy (connection: Connection, head: Buffer, message: string, retryAfter: number): void {
    this.#limiterOf(undefined).refused(connection)
    this.#refuse(this.#handlerOf(head), connection, head, new Refusal('BUSY', message, { retryAfter }))
  }

  #refuse (handler: FrameHandler | undefined, connection: Connection, head: Buffer, refusal: Refusal, message?: unknown): void {
    // `sendError` logs the other refusals
    if (handler?.refuse !== undefined) connection.logRefusal(refusal.code)
    refuse(handler, connection, head, refusal, message)
  }

  #handlerOf (head: Buffer): FrameHandler | undefined {
    return head.length === 0 ? undefined : this.#handlers[head[0]!]
  }
}

/** Calls `fn` after every frame that arrived before. */
export function afterFrames (connection: Connection, fn: () => void): void {
  if (connection.inbound === undefined) fn()
  else connection.inbound.add(0, 0, fn)
}

/** The correlation id of the answer to a frame; 0 if the frame is too short to have one. */
function idOf (head: Buffer): number {
  return head.length < HEADER_SIZE ? 0 : readUint32(head, 1)
}

/** @param message the payload, if it was parsed */
function refuse (handler: FrameHandler | undefined, connection: Connection, head: Buffer, refusal: Refusal, message?: unknown): void {
  if (handler?.refuse !== undefined) return handler.refuse(connection, idOf(head), refusal, message)
  const about = message === undefined ? undefined : handler?.about?.(message)
  connection.sendError(idOf(head), refusal.code, refusal.message, { ...refusal.more, ...about })
}
