import type { Duplex } from 'node:stream'
import { CloseCode, type ErrorCode } from '../../protocol/codes.js'
import type { ErrorMessage } from '../../protocol/messages.js'
import { Opcode, type ProtocolVersion } from '../../protocol/opcodes.js'
import { isSmall, messageSize } from './answers.js'
import type { ConnectionHost } from './connection-host.js'
import type { ConnectionContext, MessageContext } from '../context/connection-context.js'
import { encodeMessage, joined, sizeOf } from './encoding.js'
import type { Flushable, Stale } from './flusher.js'
import { OutgoingQueue } from './outgoing-queue.js'
import { type ServerSocket, bytesOf } from './server-socket.js'
import { TIME_BASE } from './time-base.js'
import { Work } from './work.js'

/** An empty ping (RFC 6455 section 5.5.2), unmasked. */
const PING = Buffer.from([0x89, 0x00])

/**
 * An accepted socket with its identity and its outgoing queue. Answers, events and patches leave in the order of
 * sending. Members that an idle connection does not need are created on first use.
 */
export class Connection implements Flushable {
  /** A bit for each event number that the client knows. */
  knownEvents: Uint8Array | undefined
  /** ms since `TIME_BASE`; `floor` makes a small integer of it, which takes no memory of its own. */
  readonly #age = Math.floor(Date.now() - TIME_BASE)
  /** The socket of the upgrade, or of the HTTP request that became a connection. */
  carrier: Duplex | undefined
  #work: Work | undefined
  readonly #host: ConnectionHost
  readonly #socket: ServerSocket
  readonly #raw: Duplex
  /** Undefined if no frame waits. */
  #queue: OutgoingQueue | undefined
  /** Length of a buffered message that alone exceeds `maxBufferedBytes`; 0 if there is none. */
  #oversized = 0
  #dirty = false
  /** Pending while nothing may be sent. */
  #held: Promise<unknown> | undefined
  #awaitsDrain = false
  #stale: Set<Stale> | undefined
  #open = true
  #bytesHeard = 0
  #silentBeats = 0

  constructor (host: ConnectionHost, socket: ServerSocket, raw: Duplex, readonly context: ConnectionContext) {
    this.#host = host
    this.#socket = socket
    this.#raw = raw
  }

  get id (): string { return this.context.connectionId }
  get work (): Work { return (this.#work ??= new Work()) }
  get calls (): Work['calls'] { return this.#work?.calls }
  get inbound (): Work['inbound'] { return this.#work?.inbound }
  get subscriptions (): number { return this.#work?.subscriptions ?? 0 }
  /** Unix time in ms. */
  get connectedAt (): number { return TIME_BASE + this.#age }
  get protocol (): ProtocolVersion { return this.context.protocol }
  /** False after the first `close`. */
  get isOpen (): boolean { return this.#open }
  /** The context that hooks and event handlers get. */
  get messageContext (): MessageContext {
    const { context } = this
    return (this.work.context ??= { get auth () { return context.auth }, connectionId: context.connectionId, connection: context, log: this.#host.log.child({ connectionId: context.connectionId }) })
  }

  /** Bytes that the socket has received and sent. */
  get bytes (): { read: number, written: number } { return bytesOf(this.#raw) }
  /** Bytes that wait for the kernel to take them. */
  get bufferedBytes (): number { return (this.#queue?.size ?? 0) + this.#raw.writableLength }
  /** Whether state updates should wait for the socket to drain. */
  get isCongested (): boolean { return this.bufferedBytes > this.#host.settings.highWaterMark }

  /**
   * Queues a message. It is written before the next turn of the event loop, with all others that are queued then. If
   * the connection is too far behind, it is closed instead.
   */
  send (message: Buffer): void {
    if (this.#takes(message.length)) this.#enqueue(message)
  }

  /** Sends a message to this client alone. Small ones are encoded together. */
  answer (opcode: number, correlationId: number, json: string): void {
    const { settings: { compressionThreshold }, metrics } = this.#host
    const length = Buffer.byteLength(json)
    if (!isSmall(length, compressionThreshold) || metrics.tap !== undefined) return this.send(encodeMessage(opcode, correlationId, json, compressionThreshold))
    if (!this.#takes(messageSize(length))) return
    ;(this.#queue ??= new OutgoingQueue()).answer(opcode, correlationId, json, length)
    this.#makeDirty()
  }

  /** Sends a message in pieces. Many connections may share the large piece, so it is not copied for each. */
  sendPieces (pieces: readonly Buffer[]): void {
    // the stream of an HTTP connection needs whole messages
    if (pieces.length === 1 || this.context.transport === 'http') return this.send(joined(pieces))
    if (!this.#takes(sizeOf(pieces))) return
    if (this.#host.metrics.tap !== undefined) this.#host.metrics.tap.sent(this, joined(pieces))
    for (const piece of pieces) this.#push(piece)
  }

  #takes (length: number): boolean {
    if (!this.#open) return false
    if (!this.hasRoomFor(length)) {
      this.#closeSlowConsumer()
      return false
    }
    if (this.#oversized === 0 && length > this.#host.settings.maxBufferedBytes) this.#oversized = length
    this.#count(length)
    return true
  }

  #count (length: number): void {
    this.#host.metrics.messagesOut++
    this.#host.metrics.bytesOut += length
  }

  /** Whether a message fits into the buffer. */
  hasRoomFor (length: number): boolean {
    if (this.#fits(length)) return true
    // many messages in one tick do not mean a slow consumer, so write first. This ends a hold, which bounds the memory
    this.#held = undefined
    this.#write()
    return this.#fits(length)
  }

  #fits (length: number): boolean {
    const limit = this.#host.settings.maxBufferedBytes
    const buffered = this.bufferedBytes
    if (buffered === 0) this.#oversized = 0
    return buffered + length <= limit + this.#oversized || (length > limit && this.#oversized === 0)
  }

  /** Logs a refusal, except conflicts, which are normal. Other refusals indicate a mistake or an attack. */
  logRefusal (code: string): void {
    if (code !== 'CONFLICT') this.#host.repeats.warn({ connectionId: this.id, userId: this.context.userId, code }, `frames of clients are refused: ${code}`)
  }

  sendError (correlationId: number, code: ErrorCode, message: string, more?: Partial<ErrorMessage>): void {
    this.logRefusal(code)
    this.#host.metrics.refused('frame', code)
    this.answer(Opcode.ERROR, correlationId, JSON.stringify({ code, message, ...more }))
  }

  /** Refuses a frame that does not decode or is not allowed here. Closes the connection after too many of them. */
  refuseFrame (correlationId: number, message: string, closeCode: number = CloseCode.PROTOCOL_ERROR, code: ErrorCode = 'BAD_FRAME'): void {
    this.#host.metrics.badFrames++
    this.sendError(correlationId, code, message)
    if (++this.work.badFrames > this.#host.settings.maxBadFrames) this.close(closeCode, 'too many bad frames')
  }

  /** Marks a subscription for a catch-up, which is sent as soon as the socket has room. */
  markStale (subscription: Stale): void {
    if (!this.#open) return
    (this.#stale ??= new Set()).add(subscription)
    this.#makeDirty()
  }

  forgetStale (subscription: Stale): void {
    this.#stale?.delete(subscription)
  }

  /** Delays all output until `until` resolves, so that no client acts before broadcasts reach it. Must not reject. */
  hold (until: Promise<void>): void {
    const held = this.#held = this.#held === undefined ? until : Promise.all([this.#held, until])
    void held.then(() => {
      if (this.#held !== held) return
      this.#held = undefined
      this.#makeDirty()
    })
  }

  flush (): void {
    this.#write()
    if (this.#stale !== undefined && this.#stale.size > 0 && this.#open && this.#held === undefined) this.#catchUp(this.#stale)
    this.#dirty = false
  }

  /** Pings, and ends a connection that has been silent for two heartbeats. */
  beat (): void {
    if (!this.#open) return
    const { read } = this.bytes
    this.#silentBeats = read === this.#bytesHeard ? this.#silentBeats + 1 : 0
    this.#bytesHeard = read
    if (this.#silentBeats >= 2) return this.close(CloseCode.HEARTBEAT_MISSED, 'heartbeat missed')
    this.#enqueue(PING)
  }

  /** Checks the buffer after the WebSocket layer answered a ping, because `send` did not count that answer. */
  pinged (): void {
    if (this.#open && this.bufferedBytes > this.#host.settings.maxBufferedBytes + this.#oversized) this.#closeSlowConsumer()
  }

  /** Flushes the queue, then sends a close frame. Cuts off a peer that does not answer it within `closeTimeoutMs`. */
  close (code: number, reason: string): void {
    if (!this.#open) return
    if (code !== CloseCode.SLOW_CONSUMER) this.#sendGoaway()
    this.#held = undefined
    this.#write()
    this.#open = false
    this.#stale = undefined
    this.#host.metrics.closed(code)
    this.#socket.close(code, reason)
    this.work.terminator = setTimeout(() => this.#socket.terminate(), this.#host.settings.closeTimeoutMs).unref()
  }

  /**
   * Sends GOAWAY with the calls that may have run. No further call begins, and answers were sent before it. A slow
   * consumer gets none, because its answers may have been dropped.
   */
  #sendGoaway (): void {
    if (this.protocol === 1) return
    const message = encodeMessage(Opcode.GOAWAY, 0, JSON.stringify({ begun: this.calls?.withdraw() ?? [] }), Infinity)
    this.#count(message.length)
    this.#enqueue(message)
  }

  terminate (): void { this.#socket.terminate() }

  /** Releases memory after the socket has closed. */
  ended (): void {
    this.#open = false
    this.#queue = undefined
    this.#stale = undefined
    clearTimeout(this.#work?.terminator)
  }

  #closeSlowConsumer (): void {
    this.#host.metrics.slowConsumers++
    this.#host.repeats.warn({ connectionId: this.id, userId: this.context.userId, bufferedBytes: this.bufferedBytes }, 'slow consumer closed: its buffered bytes were over maxBufferedBytes')
    // the buffered messages would only delay the close frame
    this.#queue = undefined
    this.close(CloseCode.SLOW_CONSUMER, 'slow consumer')
  }

  #enqueue (message: Buffer): void {
    this.#host.metrics.tap?.sent(this, message)
    this.#push(message)
  }

  #push (bytes: Buffer): void {
    ;(this.#queue ??= new OutgoingQueue()).push(bytes)
    this.#makeDirty()
  }

  #makeDirty (): void {
    if (this.#dirty || (this.#awaitsDrain && this.#queue === undefined)) return
    this.#dirty = true
    this.#host.flusher.add(this)
  }

  #write (): void {
    if (this.#held !== undefined || this.#queue === undefined) return
    const queue = this.#queue
    this.#queue = undefined
    queue.writeTo(this.#raw)
  }

  /** Sends one catch-up per stale subscription, while the socket has room. */
  #catchUp (stale: Set<Stale>): void {
    for (const subscription of stale) {
      if (this.isCongested) {
        this.#write()
        if (this.isCongested) return this.#onceDrained()
      }
      if (!subscription.catchUp()) return this.#onceDrained()
      stale.delete(subscription)
      if (!this.#open) return
    }
    this.#write()
  }

  #onceDrained (): void {
    // a socket that is not writable is about to close, and never drains
    if (this.#awaitsDrain || !this.#raw.writable) return
    this.#awaitsDrain = true
    const drained = (): void => {
      this.#awaitsDrain = false
      this.#makeDirty()
    }
    // below the stream's own high-water mark there is no `drain` event: the callback of an empty write replaces it
    if (this.#raw.writableNeedDrain) this.#raw.once('drain', drained)
    else this.#raw.write(Buffer.alloc(0), drained)
  }
}
