import { CloseCode } from '../protocol/codes.js'
import { messageOf } from '../protocol/errors.js'
import type { Welcome } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { backoff } from './backoff.js'
import { decode, encode } from './codec.js'
import type { Failure, Link, LinkEvents, LinkOptions, WebSocketConstructor, WebSocketLike } from './link.js'

/** ms from opening a socket to the server's WELCOME. */
const CONNECT_TIMEOUT = 10_000
/** A connection that lasted this long (ms) was a good one: the backoff starts anew. */
const GOOD = 5000

/** What the application has to do something about first; coming back would change nothing. */
const FATAL: Record<number, string> = { [CloseCode.AUTH_EXPIRED]: 'AUTH_EXPIRED', [CloseCode.POLICY]: 'POLICY' }

interface GlobalEvents {
  addEventListener?: (name: string, listener: () => void) => void
  removeEventListener?: (name: string, listener: () => void) => void
}

/** A link over a WebSocket on this thread: frames, heartbeat, reconnecting. */
export class SocketLink implements Link {
  readonly #options: LinkOptions
  readonly #WebSocket: WebSocketConstructor
  readonly #events: LinkEvents
  #socket: WebSocketLike | undefined
  #isConnected = false
  #isClosed = false
  #connectedAt = 0
  #attempts = 0
  #wasHeard = false
  #silentBeats = 0
  #connectTimer: ReturnType<typeof setTimeout> | undefined
  #retryTimer: ReturnType<typeof setTimeout> | undefined
  #heartbeat: ReturnType<typeof setInterval> | undefined

  constructor (options: LinkOptions, webSocket: WebSocketConstructor, events: LinkEvents) {
    this.#options = options
    this.#WebSocket = webSocket
    this.#events = events
  }

  open (): void {
    (globalThis as GlobalEvents).addEventListener?.('online', this.#online)
    this.#events.onState('connecting')
    this.#connect()
  }

  send (opcode: number, correlationId: number, json: string): void {
    if (this.#isConnected) this.#socket!.send(encode(opcode, correlationId, json))
  }

  close (): void {
    if (this.#isClosed) return
    this.#release()
    this.#end()
  }

  #connect (): void {
    let socket: WebSocketLike
    try {
      socket = new this.#WebSocket(this.#options.url, this.#options.protocols)
    } catch (error) {
      return this.#giveUp({ code: 'CONNECT_FAILED', message: messageOf(error) })
    }
    this.#socket = socket
    socket.binaryType = 'arraybuffer'
    socket.onmessage = (event: { data: ArrayBuffer }) => { this.#receive(event.data) }
    socket.onclose = (event: { code: number, reason: string }) => { this.#lost(event.code, event.reason) }
    socket.onerror = () => {} // a close follows, and browsers do not say more here
    this.#connectTimer = setTimeout(() => { this.#lost(0, `no answer within ${CONNECT_TIMEOUT} ms`) }, CONNECT_TIMEOUT)
  }

  #receive (data: ArrayBuffer): void {
    this.#wasHeard = true
    let message
    try {
      message = decode(data)
    } catch (error) {
      return this.#events.onProblem({ code: 'BAD_FRAME', message: `the server sent what is not a frame: ${messageOf(error)}` })
    }
    if (message.opcode === Opcode.WELCOME) this.#welcomed(message.payload as Welcome)
    else if (message.opcode !== Opcode.PONG) this.#events.onMessage(message)
  }

  #welcomed (welcome: Welcome): void {
    clearTimeout(this.#connectTimer)
    this.#isConnected = true
    this.#connectedAt = Date.now()
    this.#silentBeats = 0
    this.#heartbeat = setInterval(() => { this.#beat() }, welcome.heartbeatMs)
    this.#events.onState('connected', welcome)
  }

  #beat (): void {
    this.#silentBeats = this.#wasHeard ? 0 : this.#silentBeats + 1
    this.#wasHeard = false
    if (this.#silentBeats >= 2) this.#lost(0, 'the server has been silent for two heartbeats')
    else if (this.#silentBeats === 1) this.send(Opcode.PING, 0, 'null')
  }

  /** The socket has ended, or is treated as if it had. */
  #lost (code: number, reason: string): void {
    const wasConnected = this.#isConnected
    this.#release()
    if (wasConnected && Date.now() - this.#connectedAt >= GOOD) this.#attempts = 0
    const why = `the connection ${wasConnected ? 'was lost' : 'could not be made'}${code === 0 ? '' : ` (code ${code})`}${reason === '' ? '' : `: ${reason}`}`
    const fatal = FATAL[code]
    if (fatal !== undefined) return this.#giveUp({ code: fatal, message: why })
    const { reconnect, reconnectInterval, maxReconnectAttempts } = this.#options
    if (!reconnect || this.#attempts >= maxReconnectAttempts) {
      return this.#giveUp({ code: wasConnected ? 'CONNECTION_LOST' : 'CONNECT_FAILED', message: why })
    }
    this.#attempts++
    this.#events.onState('reconnecting')
    this.#retryTimer = setTimeout(() => { this.#connect() }, backoff(this.#attempts, reconnectInterval))
  }

  /** Lets go of the socket and its timers; what it still says is nobody's business. */
  #release (): void {
    clearTimeout(this.#connectTimer)
    clearTimeout(this.#retryTimer)
    clearInterval(this.#heartbeat)
    this.#isConnected = false
    const socket = this.#socket
    this.#socket = undefined
    if (socket === undefined) return
    socket.onmessage = socket.onclose = null
    socket.close(CloseCode.NORMAL)
  }

  #giveUp (failure: Failure): void {
    this.#events.onProblem(failure)
    this.#end(failure)
  }

  #end (failure?: Failure): void {
    this.#isClosed = true
    ;(globalThis as GlobalEvents).removeEventListener?.('online', this.#online)
    this.#events.onState('disconnected', undefined, failure)
  }

  /** The browser is back on the network: no reason to wait. */
  readonly #online = (): void => {
    if (this.#socket !== undefined || this.#isClosed) return
    clearTimeout(this.#retryTimer)
    this.#connect()
  }
}
