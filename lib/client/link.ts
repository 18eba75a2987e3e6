import type { Welcome } from '../protocol/messages.js'
import type { Bytes } from './codec.js'

/** The state of a client's connection. `reconnecting`: the connection failed, and the client tries again. */
export type ConnectionState = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

/** The reason why a connection ended or failed. It is plain data, because it may come from a Web Worker. */
export interface Failure { code: string, message: string }

/** The events of a link, in order. */
export interface LinkEvents {
  /**
   * @param welcome set for 'connected'
   * @param failure set for 'reconnecting', and for 'disconnected' if the link gave up
   */
  onState (state: ConnectionState, welcome?: Welcome, failure?: Failure): void
  /** Called for each frame for the client: inflated, but not decoded or checked. */
  onFrame (frame: Bytes): void
  /** Called if the link refused to send a message: BUSY or PAYLOAD_TOO_LARGE. */
  onUnsent (correlationId: number, failure: Failure): void
  /** Called if the next connection needs a call of `Link.offer`: only if the options have no `protocols`. */
  onOffer (): void
  /** Called for an error that does not end the connection. */
  onProblem (failure: Failure): void
}

export interface LinkOptions {
  /** ws: or wss: */
  url: string
  /** The subprotocols of every connection; undefined if each connection needs a new token in them. */
  protocols: string[] | undefined
  reconnect: boolean
  /** ms: the base of the backoff */
  reconnectInterval: number
  maxReconnectAttempts: number
}

/** `wake`: the page is visible or online again. `check`: the network is gone. `suspend`: the page enters the back/forward cache. */
export type PageEvent = 'wake' | 'check' | 'suspend'

/** A connection that reconnects automatically, on this thread or in a Web Worker. */
export interface Link {
  open (): void
  /** Sends a message. Does nothing while disconnected. */
  send (opcode: number, correlationId: number, json: string): void
  /** Answers `onOffer` with subprotocols, or with the failure to get a token. */
  offer (protocols: string[] | Failure): void
  /** Reconnects at once, checks the connection, or closes it until the page is shown again. */
  page (event: PageEvent): void
  /** Closes without reconnecting. Emits the last event, 'disconnected', before it returns. */
  close (): void
}

/** The part of a WebSocket that the client uses. Browsers, Node.js 22 and later, and `ws` have it. */
export interface WebSocketLike {
  /** The client sets it to `arraybuffer`. */
  binaryType: string
  /** Number of bytes that are not sent yet. */
  readonly bufferedAmount: number
  /** Called once the handshake is done. */
  onopen: ((event: never) => void) | null
  /** Called for each message; `data` has its bytes. */
  onmessage: ((event: never) => void) | null
  /** Called once the connection has ended, with the server's `code` and `reason`. */
  onclose: ((event: never) => void) | null
  /** Called for a failure, before `onclose`. */
  onerror: ((event: never) => void) | null
  /** Queues a binary message. @param data its bytes */
  send (data: Bytes): void
  /** Starts the closing handshake (RFC 6455, section 7). @param code close code @param reason up to 123 bytes */
  close (code?: number, reason?: string): void
}

/** The constructor of a WebSocket implementation. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike
