import type { Duplex } from 'node:stream'
import { CloseCode, type ErrorCode } from '../../protocol/codes.js'
import type { ErrorMessage } from '../../protocol/messages.js'
import { Opcode, type ProtocolVersion } from '../../protocol/opcodes.js'
import type { Buckets } from './buckets.js'
import type { Budget, CallInFlight } from './budget.js'
import type { ConnectionContext, MessageContext } from '../context/connection-context.js'
import { encodeMessage, joined, sizeOf } from './encoding.js'
import type { Flushable, Flusher, Stale } from './flusher.js'
import { Inflation } from './inflate.js'
import type { InboundQueue } from './inbound-queue.js'
import { OutgoingQueue } from './outgoing-queue.js'
import { type ServerSocket, bytesOf } from './server-socket.js'
import type { Logger } from '../context/logger.js'
import type { RepeatLog } from '../context/repeat-log.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Settings } from '../config/settings.js'

/** The state that all connections of a server share. */
export interface ConnectionHost {
  readonly settings: Settings
  readonly metrics: Metrics
  readonly flusher: Flusher
  readonly log: Logger
  readonly repeats: RepeatLog
}

/** An empty ping (RFC 6455 section 5.5.2), unmasked. */
const PING = Buffer.from([0x89, 0x00])

/**
 * An accepted socket with its identity, and its one outgoing queue: answers, events, patches, in
 * order. What is not needed while a connection is idle is made on first use.
 */
export class Connection implements Flushable {
  calls: Set<CallInFlight> | undefined
  /** Budgets of what is under way: calls, events that wait for a hook, CRDT operations. */
  callBudget: Budget | undefined
  eventBudget: Budget | undefined
  operationBudget: Budget | undefined
  /** Events wait for those before them where a hook is asynchronous. */
  events: Promise<void> | undefined
  buckets: Buckets | undefined
  /** A bit for each number of an event whose name the client knows. */
  knownEvents: Uint8Array | undefined
  /** Frames that have arrived and wait; undefined if none does. */
  inbound: InboundQueue | undefined
  /** Unix time in ms */
  readonly connectedAt = Date.now()
  /** The socket of a request that is a connection. */
  carrier: Duplex | undefined
  /** Whether it begins no more calls, as it is about to be closed. */
  isLeaving = false
  badFrames = 0
  subscriptions = 0
  #inflation: Inflation | undefined
  readonly #host: ConnectionHost
  readonly #socket: ServerSocket
  readonly #raw: Duplex
  readonly #queue = new OutgoingQueue()
  /** Length of a message over the limit, which may be buffered alone. */
  #oversized = 0
  #dirty = false
  /** Pending while nothing may leave. */
  #held: Promise<unknown> | undefined
  #awaitsDrain = false
  #stale: Set<Stale> | undefined
  #open = true
  #terminator: NodeJS.Timeout | undefined
  #bytesHeard = 0
  #silentBeats = 0
  #messageContext: MessageContext | undefined

  constructor (host: ConnectionHost, socket: ServerSocket, raw: Duplex, readonly context: ConnectionContext) {
    this.#host = host
    this.#socket = socket
    this.#raw = raw
  }

  get id (): string { return this.context.connectionId }
  get inflation (): Inflation { return (this.#inflation ??= new Inflation()) }
  get protocol (): ProtocolVersion { return this.context.protocol }
  /** False from the first `close` on. */
  get isOpen (): boolean { return this.#open }
  /** The context that hooks and event handlers get. */
  get messageContext (): MessageContext {
    const { context } = this
    return (this.#messageContext ??= { get auth () { return context.auth }, connectionId: context.connectionId, connection: context, log: this.#host.log.child({ connectionId: context.connectionId }) })
  }

  /** Bytes that came by the socket, and that it took. */
  get bytes (): { read: number, written: number } { return bytesOf(this.#raw) }
  /** Bytes that the kernel has not taken yet. */
  get bufferedBytes (): number { return this.#queue.size + this.#raw.writableLength }
  /** Whether state updates should wait for the socket to drain. */
  get isCongested (): boolean { return this.bufferedBytes > this.#host.settings.highWaterMark }

  /**
   * Queues a message. It leaves before the event loop turns, together with whatever else waits then.
   * A connection that has fallen too far behind is closed instead.
   */
  send (message: Buffer): void {
    if (this.#takes(message.length)) this.#enqueue(message)
  }

  /** The same for a message in pieces, of which many connections get the large one: it is not copied for each. */
  sendPieces (pieces: readonly Buffer[]): void {
    // what stands in for the socket of a request takes whole messages
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

  /** Whether a message may be queued beside what waits already. */
  hasRoomFor (length: number): boolean {
    if (this.#fits(length)) return true
    // much in one tick is not yet a slow peer, and no hold is worth the memory: see what the socket takes
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

  /** A conflict is an everyday matter; what else is refused shows a mistake or an attack. */
  logRefusal (code: string): void {
    if (code !== 'CONFLICT') this.#host.repeats.warn({ connectionId: this.id, userId: this.context.userId, code }, `frames of clients are refused: ${code}`)
  }

  sendError (correlationId: number, code: ErrorCode, message: string, more?: Partial<ErrorMessage>): void {
    this.logRefusal(code)
    this.#host.metrics.refused('frame', code)
    this.send(encodeMessage(Opcode.ERROR, correlationId, JSON.stringify({ code, message, ...more }), this.#host.settings.compressionThreshold))
  }

  /** A frame that did not decode, or has no business here: answered and counted, then the end. */
  refuseFrame (correlationId: number, message: string, closeCode: number = CloseCode.PROTOCOL_ERROR, code: ErrorCode = 'BAD_FRAME'): void {
    this.#host.metrics.badFrames++
    this.sendError(correlationId, code, message)
    if (++this.badFrames > this.#host.settings.maxBadFrames) this.close(closeCode, 'too many bad frames')
  }

  /** The subscription needs a catch-up; it is sent as soon as the socket has room for it. */
  markStale (subscription: Stale): void {
    if (!this.#open) return
    (this.#stale ??= new Set()).add(subscription)
    this.#makeDirty()
  }

  forgetStale (subscription: Stale): void {
    this.#stale?.delete(subscription)
  }

  /** Lets nothing leave until then, as the client would know too early what it tells. The promise must not reject. */
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

  /** The WebSocket layer has answered a ping by itself, so that nothing has counted what it queued. */
  pinged (): void {
    if (this.#open && this.bufferedBytes > this.#host.settings.maxBufferedBytes + this.#oversized) this.#closeSlowConsumer()
  }

  /** Sends what waits, then the close frame; a peer that does not answer it is cut off after `closeTimeoutMs`. */
  close (code: number, reason: string): void {
    if (!this.#open) return
    if (code !== CloseCode.SLOW_CONSUMER) this.#sayGoodbye()
    this.#held = undefined
    this.#write()
    this.#open = false
    this.#stale = undefined
    this.#host.metrics.closed(code)
    this.#socket.close(code, reason)
    this.#terminator = setTimeout(() => this.#socket.terminate(), this.#host.settings.closeTimeoutMs).unref()
  }

  /**
   * Tells which calls may have run: from now on none is begun, and those with an answer have that before this.
   * Never to a slow consumer, whose answers may have been dropped.
   */
  #sayGoodbye (): void {
    if (this.protocol === 1) return
    const begun = []
    for (const call of this.calls ?? []) if (!call.withdraw()) begun.push(call.correlationId)
    const message = encodeMessage(Opcode.GOAWAY, 0, JSON.stringify({ begun }), Infinity)
    this.#count(message.length)
    this.#enqueue(message)
  }

  terminate (): void { this.#socket.terminate() }

  /** The socket has ended. */
  ended (): void {
    this.#open = false
    this.#queue.clear()
    this.#stale = undefined
    clearTimeout(this.#terminator)
  }

  #closeSlowConsumer (): void {
    this.#host.metrics.slowConsumers++
    this.#host.repeats.warn({ connectionId: this.id, userId: this.context.userId, bufferedBytes: this.bufferedBytes }, 'slow consumer closed: it reads slower than maxBufferedBytes allows')
    // what waits would only make the peer later still
    this.#queue.clear()
    this.close(CloseCode.SLOW_CONSUMER, 'slow consumer')
  }

  #enqueue (message: Buffer): void {
    this.#host.metrics.tap?.sent(this, message)
    this.#push(message)
  }

  #push (bytes: Buffer): void {
    this.#queue.push(bytes)
    this.#makeDirty()
  }

  #makeDirty (): void {
    if (this.#dirty || (this.#awaitsDrain && this.#queue.size === 0)) return
    this.#dirty = true
    this.#host.flusher.add(this)
  }

  #write (): void {
    if (this.#held === undefined) this.#queue.writeTo(this.#raw)
  }

  /** One catch-up per stale subscription, for as long as the socket takes them. */
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
    // one that cannot be written to any more is about to end, and never drains
    if (this.#awaitsDrain || !this.#raw.writable) return
    this.#awaitsDrain = true
    const drained = (): void => {
      this.#awaitsDrain = false
      this.#makeDirty()
    }
    // below the stream's own mark there is no drain event: an empty write reports instead
    if (this.#raw.writableNeedDrain) this.#raw.once('drain', drained)
    else this.#raw.write(Buffer.alloc(0), drained)
  }
}
