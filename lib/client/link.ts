import type { Welcome } from '../protocol/messages.js'
import type { Bytes, Message } from './codec.js'

export type ConnectionState = 'disconnected' | 'connecting' | 'connected' | 'reconnecting'

/** Why a connection ended, or did not come about; plain data, as it may come out of a Web Worker. */
export interface Failure { code: string, message: string }

/** The events of a link, in order. */
export interface LinkEvents {
  /**
   * `welcome` comes with 'connected'; `failure` with 'reconnecting', and with 'disconnected' where the
   * link gave up by itself.
   */
  onState (state: ConnectionState, welcome?: Welcome, failure?: Failure): void
  onMessage (message: Message): void
  /** A message was not sent, and will not be: BUSY or PAYLOAD_TOO_LARGE. */
  onUnsent (correlationId: number, failure: Failure): void
  /** A connection is about to be made, and waits for `Link.offer`; only where the options have no `protocols`. */
  onOffer (): void
  /** Something went wrong that ends nothing. */
  onProblem (failure: Failure): void
}

export interface LinkOptions {
  /** ws: or wss: */
  url: string
  /** The subprotocols of every connection; undefined where each has its own, because of the token in them. */
  protocols: string[] | undefined
  reconnect: boolean
  /** ms: the base of the backoff */
  reconnectInterval: number
  maxReconnectAttempts: number
}

/** A connection that comes back by itself: on this thread, or in a Web Worker. */
export interface Link {
  open (): void
  /** Does nothing where the link is not connected: `onState` tells that. */
  send (opcode: number, correlationId: number, json: string): void
  /** The subprotocols for the connection that waits for them, if one still does, or why there are none. */
  offer (protocols: string[] | Failure): void
  /** Ends it for good: tells 'disconnected' before it returns, then nothing more. */
  close (): void
}

/** The part of a WebSocket that the client uses: the browser's, Node's (22 and later) or that of `ws`. */
export interface WebSocketLike {
  binaryType: string
  /** Bytes that wait for the network. */
  readonly bufferedAmount: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
  send (data: Bytes): void
  close (code?: number, reason?: string): void
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike
