import type { ErrorCode } from './codes.js'

/** One operation of a JSON Patch (RFC 6902 section 4). */
export type Operation =
  | { op: 'add', path: string, value: unknown }
  | { op: 'remove', path: string }
  | { op: 'replace', path: string, value: unknown }
  | { op: 'move', from: string, path: string }
  | { op: 'copy', from: string, path: string }
  | { op: 'test', path: string, value: unknown }

/** The position of a replica. */
export interface Head {
  /** Names one life of the version counter. */
  epoch: string
  /** Counts commits; 0 without a value. */
  version: number
}

/** The writers of a sync channel. `client-to-server`: each connection has a value of its own. */
export type ChannelDirection = 'server-to-client' | 'client-to-server' | 'bidirectional'
/** The updates of a sync channel: JSON Patches, whole values, or operations that merge. */
export type ChannelMode = 'json-patch' | 'snapshot' | 'crdt'
/** The description of a sync channel in the answer to SUBSCRIBE. */
export interface ChannelInfo { direction: ChannelDirection, mode: ChannelMode }

export interface RpcRequest { method: string, params?: unknown, correlationId: number, /** of the client's span: W3C Trace Context */ traceparent?: string }
export interface RpcError { code: number, message: string, data?: unknown }
/** `begun` is false if the call never ran: the server closes or, with `again`, has no place for the call yet. */
export interface RpcResponse { correlationId: number, result?: unknown, error?: RpcError, begun?: false, again?: true }
export interface ClientEvent { event: string, data?: unknown, /** of the client's span: W3C Trace Context */ traceparent?: unknown }
export interface ServerEvent { event: string, data: unknown, /** Unix ms */ timestamp: number, /** version 3: the number that stands for the name from now on */ n?: number }
/** Version 3: stands for the key in compact patches that follow. */
export type KeyNumber = number
/** Takes a key from `from` to `version`. Several commits may be sent as one. */
export interface StatePatch { key: string, epoch: string, from: number, version: number, patches: Operation[], channel?: ChannelInfo, n?: KeyNumber }
/** Version 0 without `data` is a key that has no value. */
export interface StateSnapshot { key: string, epoch: string, version: number, data?: unknown, channel?: ChannelInfo, n?: KeyNumber }
export interface ErrorMessage { code: ErrorCode, message: string, /** ms */ retryAfter?: number, key?: string, /** CLOCK_SKEW: the server's Unix time in ms */ now?: number, /** FORBIDDEN: the nodeId that is another user's */ nodeId?: string, /** the event that is refused */ event?: string, /** INTERNAL: the id of the error in the server's log */ id?: string, /** INVALID_VALUE: the refused places (JSON Pointers), each with a reason */ issues?: ReadonlyArray<{ readonly path: string, readonly message: string }> }
/** `epoch` and `version`: the position that the client still has, if any. */
export interface Subscribe { key: string, epoch?: string, version?: number }
/** `patches`, made on version `base` of `epoch`, or, in mode `snapshot`, `data`. `push` tells this one from every other. */
export interface StatePush { key: string, epoch?: string, base?: number, patches?: Operation[], data?: unknown, push: { client: string, seq: number } }
/** `version` has the push in it. */
export interface StateAck { key: string, epoch: string, version: number }
export interface Unsubscribe { key: string }
/** Asks for a token; under the id of an AUTH it says that the token was accepted. `expiresIn` in ms, absent for ever. */
export interface AuthRefresh { expiresIn?: number }
export interface Auth { token: string }
/** The server closes the connection. Of the calls without an answer these were begun, and no other will be. */
export interface GoAway { begun: number[] }
export interface Welcome {
  protocol: 2 | 3
  connectionId: string
  userId?: string
  /** ms between heartbeats; a peer that is silent for two of them is gone */
  heartbeatMs: number
  /** bytes of payload that the server takes in one frame */
  maxPayload: number
  /** calls that the server has under way at once for the connection; absent from servers that do not say */
  maxCallsInFlight?: number
  /** version 3: the Unix time in ms that compact events count from */
  at?: number
}
