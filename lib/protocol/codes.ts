/** The `code` of an ERROR frame. */
export type ErrorCode =
  | 'BAD_FRAME'
  | 'PAYLOAD_TOO_LARGE'
  | 'RATE_LIMITED'
  | 'FORBIDDEN'
  | 'UNAUTHENTICATED'
  | 'UNKNOWN_KEY'
  | 'CONFLICT'
  | 'INVALID_PATCH'
  | 'INVALID_VALUE'
  | 'BUSY'
  | 'LIMIT_EXCEEDED'
  | 'CLOCK_SKEW'
  | 'INTERNAL'

/**
 * Numeric codes of a failed RPC, after JSON-RPC 2.0 section 5.1: -32768 to -32000 are reserved for
 * the protocol, every other number is the application's.
 */
export const RpcCode = {
  INVALID_REQUEST: -32600,
  METHOD_NOT_FOUND: -32601,
  INVALID_PARAMS: -32602,
  INTERNAL: -32603,
  /** An error for the client without a numeric code. */
  APPLICATION: -32000,
  TIMEOUT: -32001,
  CANCELLED: -32002,
  FORBIDDEN: -32003,
  WORKER_LOST: -32004,
  RATE_LIMITED: -32029,
  BUSY: -32030
} as const

/** WebSocket close codes (RFC 6455 section 7.4; 4000 and up are private to the application). */
export const CloseCode = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  PROTOCOL_ERROR: 1002,
  UNSUPPORTED_DATA: 1003,
  POLICY: 1008,
  TOO_BIG: 1009,
  AUTH_EXPIRED: 4401,
  HEARTBEAT_MISSED: 4408,
  SLOW_CONSUMER: 4413,
  /** The server does not accept the version of the client's contract. */
  CONTRACT_MISMATCH: 4426,
  RATE_LIMITED: 4429
} as const
