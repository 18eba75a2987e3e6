/**
 * The first byte of every frame. 0x01 to 0x0b are protocol version 1, 0x0c to 0x15 version 2, the rest version 3.
 * `0x78` can never be an opcode: it is the first byte of a zlib stream (RFC 1950), which marks a compressed frame.
 */
export const Opcode = {
  RPC_REQ: 0x01,
  RPC_RES: 0x02,
  EVENT_C2S: 0x03,
  EVENT_S2C: 0x04,
  STATE_PATCH: 0x05,
  STATE_SNAPSHOT: 0x06,
  PING: 0x07,
  PONG: 0x08,
  ERROR: 0x09,
  CRDT_OP: 0x0a,
  CRDT_STATE: 0x0b,
  SUBSCRIBE: 0x0c,
  UNSUBSCRIBE: 0x0d,
  WELCOME: 0x0e,
  RPC_CANCEL: 0x0f,
  STATE_PUSH: 0x10,
  STATE_ACK: 0x11,
  CRDT_ACK: 0x12,
  AUTH_REFRESH: 0x13,
  AUTH: 0x14,
  GOAWAY: 0x15,
  EVENT_COMPACT: 0x16,
  PATCH_COMPACT: 0x17
} as const

export type Opcode = (typeof Opcode)[keyof typeof Opcode]

/** The opcodes of frames that clients send. */
export type ClientOpcode = (typeof Opcode)['RPC_REQ' | 'RPC_CANCEL' | 'EVENT_C2S' | 'PING' | 'SUBSCRIBE' | 'UNSUBSCRIBE' | 'STATE_PUSH' | 'CRDT_OP' | 'AUTH']

/** Protocol versions that servers support. */
export type ProtocolVersion = 1 | 2 | 3

/** WebSocket subprotocols that clients offer, preferred first, with their protocol versions. Version 1 has none. */
export const SUBPROTOCOLS = { 'datasole.v3': 3, 'datasole.v2': 2 } as const

/** Prefix of the subprotocol that carries a token: `datasole.token.<base64url>`. */
export const TOKEN_SUBPROTOCOL = 'datasole.token.'

/** The default path of the WebSocket endpoint. */
export const DEFAULT_PATH = '/__ds'
