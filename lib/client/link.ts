import type { Welcome } from '../protocol/messages.js'
import type { Bytes } from './codec.js'

/** The state of a client's connection. `reconnecting`: it was lost or could not be made, and the client tries again. */
export type ConnectionState = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

/** Why a connection ended or failed. Plain data, as it may come from a Web Worker. */
export interface Failure { code: string, message: string }

/** The events of a link, in order. */
export interface LinkEvents {
  /**
   * @param welcome set for 'connected'
   * @param failure set for 'reconnecting', and for 'disconnected' if the link gave up
   */
  onState (state: ConnectionState, welcome?: Welcome, failure?: Failure): void
  /** A frame for the client, inflated. Nobody has looked into it. */
  onFrame (frame: Bytes): void
  /** A message was refused locally: BUSY or PAYLOAD_TOO_LARGE. */
  onUnsent (correlationId: number, failure: Failure): void
  /** The next connection waits for `Link.offer`. Only if the options have no `protocols`. */
  onOffer (): void
  /** An error that does not end the connection. */
  onProblem (failure: Failure): void
}

export interface LinkOptions {
  /** ws: or wss: */
  url: string
  /** The subprotocols of every connection; undefined if each has its own token in them. */
  protocols: string[] | undefined
  reconnect: boolean
  /** ms: the base of the backoff */
  reconnectInterval: number
  maxReconnectAttempts: number
}

/** `wake`: the page is shown again or has its network back. `check`: the network is gone. `suspend`: the page goes into the back/forward cache. */
export type PageEvent = 'wake' | 'check' | 'suspend'

/** A connection that reconnects by itself, on this thread or in a Web Worker. */
export interface Link {
  open (): void
  /** Sends a message. Does nothing while disconnected. */
  send (opcode: number, correlationId: number, json: string): void
  /** Answers `onOffer` with subprotocols, or with the reason why there are none. */
  offer (protocols: string[] | Failure): void
  /** Reconnects at once, checks the connection, or closes it until the page is shown again. */
  page (event: PageEvent): void
  /** Closes without reconnecting. The last event is 'disconnected', before it returns. */
  close (): void
}

/** The part of a WebSocket that the client uses. Browsers, Node.js from 22 on and `ws` have it. */
export interface WebSocketLike {
  /** The client sets it to `arraybuffer`. */
  binaryType: string
  /** Bytes that are not sent yet. */
  readonly bufferedAmount: number
  /** Called once the handshake is done. */
  onopen: ((event: never) => void) | null
  /** Called for each message; `data` has its bytes. */
  onmessage: ((event: never) => void) | null
  /** Called once the connection has ended; `code` and `reason` are the server's. */
  onclose: ((event: never) => void) | null
  /** Called for a failure. `onclose` follows. */
  onerror: ((event: never) => void) | null
  /** Queues a binary message. @param data its bytes */
  send (data: Bytes): void
  /** Starts the closing handshake (RFC 6455, section 7). @param code close code @param reason up to 123 bytes */
  close (code?: number, reason?: string): void
}

/** The constructor of a WebSocket implementation. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike
