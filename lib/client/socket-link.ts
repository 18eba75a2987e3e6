import { CloseCode } from '../protocol/codes.js'
import { messageOf } from '../protocol/errors.js'
import { HEADER_SIZE, ZLIB_MAGIC, readUint32 } from '../protocol/frame.js'
import type { Welcome } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { backoff } from './backoff.js'
import { type Bytes, decode, encode } from './codec.js'
import { type Inflate, compress, platformInflate } from './compression.js'
import { FrameQueue } from './frame-queue.js'
import type { Failure, Link, LinkEvents, LinkOptions, PageEvent, WebSocketConstructor, WebSocketLike } from './link.js'

/** Timeout in ms from opening a socket to the server's WELCOME. */
const CONNECT_TIMEOUT = 10_000
/** Timeout in ms for the server's answer after the page was asleep or offline. */
const CHECK_TIMEOUT = 5000
/** Time in ms that a connection must last to reset the backoff. */
const GOOD = 5000
/** Buffered bytes beyond which calls and events are refused. */
const MAX_BUFFERED = 4 * 1024 * 1024

/** Close codes after which the client does not reconnect: the application must act first, e.g. get another token. */
const FATAL: Record<number, string> = { [CloseCode.AUTH_EXPIRED]: 'AUTH_EXPIRED', [CloseCode.POLICY]: 'POLICY', [CloseCode.CONTRACT_MISMATCH]: 'CONTRACT_MISMATCH' }

/** The error of `ws` if the server refuses the token at the upgrade. Browsers and Node.js do not expose the status. */
const REFUSED = 'Unexpected server response: 401'

/** The close code in browsers and Node.js for a failed connection (RFC 6455 section 7.1.5). */
const NO_CODE = 1006
const UNEXPLAINED = 'the server is unreachable, or refused the token or the origin; see its log'

/** A link over a WebSocket on this thread. It handles frames, the heartbeat and reconnecting. */
export class SocketLink implements Link {
  readonly #options: LinkOptions
  readonly #WebSocket: WebSocketConstructor
  readonly #events: LinkEvents
  readonly #incoming: FrameQueue
  readonly #outgoing = new FrameQueue({
    convert: compress,
    deliver: (frame, original) => { this.#write(frame, original) },
    failed: (error) => { this.#events.onProblem({ code: 'COMPRESSION_FAILED', message: messageOf(error) }) }
  })

  #socket: WebSocketLike | undefined
  #isConnected = false
  #isClosed = false
  #connectedAt = 0
  #attempts = 0
  /** Whether the next connection waits for its subprotocols. */
  #awaitsOffer = false
  /** Whether a connection ended with 4401, and no later one has lasted long enough. */
  #isExpired = false
  /** Whether the client is trying a fresh token after a 4401. */
  #isTrial = false
  #maxPayload = Infinity
  #heartbeatMs = 0
  #heardAt = 0
  #pingedAt = 0
  #connectTimer: ReturnType<typeof setTimeout> | undefined
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #heartbeat: ReturnType<typeof setTimeout> | undefined

  constructor (options: LinkOptions, webSocket: WebSocketConstructor, events: LinkEvents, inflate: Inflate = platformInflate()!) {
    this.#options = options
    this.#WebSocket = webSocket
    this.#events = events
    this.#incoming = new FrameQueue({
      convert: (frame) => frame[0] === ZLIB_MAGIC ? inflate(frame) : frame,
      deliver: (frame) => { this.#receive(frame) },
      failed: (error) => { events.onProblem({ code: 'BAD_FRAME', message: `the server sent an invalid frame: ${messageOf(error)}` }) }
    })
  }

  open (): void {
    this.#events.onState('connecting')
    if (!this.#isClosed) this.#connect()
  }

  send (opcode: number, correlationId: number, json: string): void {
    if (!this.#isConnected) return
    const socket = this.#socket!
    // never refuse state and CRDT messages: they are small, and keep both sides in sync
    const isBulk = opcode === Opcode.RPC_REQ || opcode === Opcode.EVENT_C2S
    const waiting = socket.bufferedAmount + this.#outgoing.size
    if (isBulk && waiting > MAX_BUFFERED) {
      return this.#events.onUnsent(correlationId, { code: 'BUSY', message: `${waiting} bytes already wait for the network` })
    }
    this.#outgoing.push(encode(opcode, correlationId, json))
  }

  #write (frame: Bytes, original: Bytes): void {
    if (frame.length <= this.#maxPayload + HEADER_SIZE) return this.#socket!.send(frame)
    this.#events.onUnsent(readUint32(original, 1), { code: 'PAYLOAD_TOO_LARGE', message: `a frame of ${frame.length} bytes is over the server's maxPayload of ${this.#maxPayload}` })
  }

  offer (protocols: string[] | Failure): void {
    if (!this.#awaitsOffer) return
    if (!Array.isArray(protocols)) return this.#lost(0, protocols.message)
    this.#awaitsOffer = false
    this.#dial(protocols)
  }

  page (event: PageEvent): void {
    if (this.#isClosed) return
    if (event === 'suspend') {
      if (!this.#options.reconnect) return
      this.#release()
      this.#events.onState('reconnecting', undefined, { code: 'PAGE_SUSPENDED', message: 'the browser suspended the page: the client reconnects when the page is shown again' })
    } else if (this.#isConnected) {
      this.#check()
    } else if (event === 'wake' && this.#socket === undefined && !this.#awaitsOffer) {
      clearTimeout(this.#retryTimer)
      this.#connect()
    }
  }

  close (): void {
    // frames that are still being compressed are sent uncompressed
    for (const frame of this.#outgoing.clear()) this.#write(frame, frame)
    this.#release()
    this.#end()
  }

  #connect (): void {
    const { protocols } = this.#options
    this.#connectTimer = setTimeout(() => { this.#lost(0, `no answer within ${CONNECT_TIMEOUT} ms`) }, CONNECT_TIMEOUT)
    if (protocols !== undefined) return this.#dial(protocols)
    this.#awaitsOffer = true
    this.#events.onOffer()
  }

  #dial (protocols: string[]): void {
    let socket: WebSocketLike
    try {
      socket = new this.#WebSocket(this.#options.url, protocols)
    } catch (error) {
      this.#release()
      return this.#end({ code: 'CONNECT_FAILED', message: messageOf(error) })
    }
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    socket.onmessage = ({ data }: { data: ArrayBuffer | string }) => {
      this.#heardAt = performance.now()
      // Uint8Array would take a text of digits for a length
      if (typeof data === 'string') this.#events.onProblem({ code: 'BAD_FRAME', message: 'the server sent text instead of a frame' })
      else this.#incoming.push(new Uint8Array(data))
    }
    let why = ''
    socket.onclose = (event: { code: number, reason: string }) => {
      this.#incoming.end(() => { this.#lost(event.code, event.reason || why) })
    }
    socket.onerror = (event: { message?: string }) => {
      why = event.message ?? ''
      // Node.js 22 fires no close event after a failed connection
      if (this.#socket === socket && !this.#isConnected) this.#lost(0, why)
    }
  }

  #receive (frame: Bytes): void {
    if (frame[0] === Opcode.WELCOME) this.#welcomed(decode(frame).payload as Welcome)
    else if (frame[0] !== Opcode.PONG) this.#events.onFrame(frame)
  }

  #welcomed (welcome: Welcome): void {
    if (this.#isConnected) return
    // read these first: they throw if the payload is not an object
    this.#maxPayload = welcome.maxPayload
    this.#heartbeatMs = welcome.heartbeatMs
    clearTimeout(this.#connectTimer)
    this.#isConnected = true
    this.#isTrial = false
    this.#connectedAt = this.#heardAt
    this.#pingedAt = 0
    this.#beatIn(welcome.heartbeatMs, welcome.heartbeatMs)
    this.#events.onState('connected', welcome)
  }

  #beatIn (wait: number, interval: number): void {
    this.#heartbeat = setTimeout(() => {
      // a late timer proves nothing, because timers of hidden pages may fire minutes late
      if (this.#pingedAt > this.#heardAt) return this.#lost(0, 'the server has been silent for two heartbeats')
      const silence = performance.now() - this.#heardAt
      if (silence < interval) return this.#beatIn(interval - silence, interval)
      this.#ping()
      this.#beatIn(interval, interval)
    }, wait)
  }

  #ping (): void {
    this.#pingedAt = performance.now()
    this.send(Opcode.PING, 0, 'null')
  }

  /** Pings with a short timeout, because the connection may have died while the page was asleep or offline. */
  #check (): void {
    const interval = this.#heartbeatMs
    if (this.#pingedAt > this.#heardAt || performance.now() - this.#heardAt < Math.min(CHECK_TIMEOUT, interval)) return
    clearTimeout(this.#heartbeat)
    this.#ping()
    this.#beatIn(Math.min(CHECK_TIMEOUT, interval), interval)
  }

  /** Handles a socket that has ended, or that counts as ended. */
  #lost (code: number, reason: string): void {
    const wasConnected = this.#isConnected
    const isFailedTrial = this.#isTrial && reason === REFUSED
    this.#release()
    if (wasConnected && performance.now() - this.#connectedAt >= GOOD) {
      this.#attempts = 0
      this.#isExpired = false
    }
    if (reason === '' && !wasConnected && (code === 0 || code === NO_CODE)) reason = UNEXPLAINED
    const why = `the connection ${wasConnected ? 'was lost' : 'could not be made'}${code === 0 ? '' : ` (code ${code})`}${reason === '' ? '' : `: ${reason}`}`
    const hasOtherToken = code === CloseCode.AUTH_EXPIRED && this.#options.protocols === undefined && !this.#isExpired
    const isOver = isFailedTrial || (code in FATAL && !hasOtherToken)
    if (hasOtherToken) this.#isExpired = this.#isTrial = true
    const failure = { code: FATAL[code] ?? (isFailedTrial ? 'AUTH_EXPIRED' : wasConnected ? 'CONNECTION_LOST' : 'CONNECT_FAILED'), message: why }
    const { reconnect, reconnectInterval, maxReconnectAttempts } = this.#options
    if (isOver || !reconnect || this.#attempts >= maxReconnectAttempts) return this.#end(failure)
    this.#attempts++
    // a server that goes away restarts soon or has other nodes, so the delay does not grow
    const wait = backoff(code === CloseCode.GOING_AWAY ? 1 : this.#attempts, reconnectInterval)
    this.#retryTimer = setTimeout(() => { this.#connect() }, wait)
    this.#events.onState('reconnecting', undefined, failure)
  }

  /** Drops the socket and its timers, and ignores its further events. */
  #release (): void {
    clearTimeout(this.#connectTimer)
    clearTimeout(this.#retryTimer)
    clearInterval(this.#heartbeat)
    this.#isConnected = this.#awaitsOffer = false
    this.#incoming.clear()
    this.#outgoing.clear()
    const socket = this.#socket
    this.#socket = undefined
    if (socket === undefined) return
    socket.onmessage = socket.onclose = null
    socket.close(CloseCode.NORMAL)
  }

  /** @param failure set unless `close` ended the link */
  #end (failure?: Failure): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#events.onState('disconnected', undefined, failure)
  }
}
