import type { ErrorCode } from './codes.js'

/** One operation of a JSON Patch (RFC 6902 section 4). */
export type Operation =
  | { op: 'add', path: string, value: unknown }
  | { op: 'remove', path: string }
  | { op: 'replace', path: string, value: unknown }
  | { op: 'move', from: string, path: string }
  | { op: 'copy', from: string, path: string }
  | { op: 'test', path: string, value: unknown }

/** The position of a replica: the last commit that it has. */
export interface Head {
  /** The random id of the version counter's life. A new epoch means that counting started again. */
  epoch: string
  /** Number of the last commit; 0 if the key has no value. */
  version: number
}

/** The allowed writers of a sync channel. With `client-to-server`, each connection has its own value. */
export type ChannelDirection = 'server-to-client' | 'client-to-server' | 'bidirectional'
/** The form of a sync channel's updates: JSON Patches, whole values, or CRDT operations. */
export type ChannelMode = 'json-patch' | 'snapshot' | 'crdt'
/** The description of a sync channel in the answer to SUBSCRIBE. */
export interface ChannelInfo { direction: ChannelDirection, mode: ChannelMode }

export interface RpcRequest { method: string, params?: unknown, correlationId: number, /** the client's span (W3C Trace Context) */ traceparent?: string }
export interface RpcError { code: number, message: string, data?: unknown }
/** `begun: false`: the call never ran, because the server is closing or (with `again`) has no room for it yet. */
export interface RpcResponse { correlationId: number, result?: unknown, error?: RpcError, begun?: false, again?: true }
export interface ClientEvent { event: string, data?: unknown, /** the client's span (W3C Trace Context) */ traceparent?: unknown }
export interface ServerEvent { event: string, data: unknown, /** Unix ms */ timestamp: number, /** version 3: the number that replaces the name in later compact frames */ n?: number }
/** Version 3: the number that replaces the key in later compact patches. */
export type KeyNumber = number
/** Patches a key from version `from` to `version`. It may combine several commits. */
export interface StatePatch { key: string, epoch: string, from: number, version: number, patches: Operation[], channel?: ChannelInfo, n?: KeyNumber }
/** Version 0 without `data`: the key has no value. */
export interface StateSnapshot { key: string, epoch: string, version: number, data?: unknown, channel?: ChannelInfo, n?: KeyNumber }
export interface ErrorMessage { code: ErrorCode, message: string, /** ms */ retryAfter?: number, key?: string, /** CLOCK_SKEW: the server's Unix time in ms */ now?: number, /** FORBIDDEN: the nodeId, which belongs to another user */ nodeId?: string, /** the refused event */ event?: string, /** INTERNAL: the id of the error in the server's log */ id?: string, /** INVALID_VALUE: the refused places (JSON Pointers), each with a reason */ issues?: ReadonlyArray<{ readonly path: string, readonly message: string }> }
/** `epoch` and `version`: the last commit that the client still has, if any. */
export interface Subscribe { key: string, epoch?: string, version?: number }
/** `patches` made on version `base` of `epoch`, or `data` in mode `snapshot`. `push` identifies the push. */
export interface StatePush { key: string, epoch?: string, base?: number, patches?: Operation[], data?: unknown, push: { client: string, seq: number } }
/** The acknowledged push is part of `version`. */
export interface StateAck { key: string, epoch: string, version: number }
export interface Unsubscribe { key: string }
/** Asks for a token or, under the correlation id of an AUTH, accepts it. `expiresIn` (ms) is absent if it never expires. */
export interface AuthRefresh { expiresIn?: number }
export interface Auth { token: string }
/** The server closes the connection. `begun` lists the unanswered calls that have started; no other will start. */
export interface GoAway { begun: number[] }
export interface Welcome {
  protocol: 2 | 3
  connectionId: string
  userId?: string
  /** ms between heartbeats; a peer that is silent for two intervals is gone */
  heartbeatMs: number
  /** maximum payload of a frame to the server, in bytes */
  maxPayload: number
  /** maximum of concurrent calls on this connection; older servers do not send it */
  maxCallsInFlight?: number
  /** version 3: Unix time in ms to which compact events add their offset */
  at?: number
}
