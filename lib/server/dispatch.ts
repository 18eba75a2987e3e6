import { isUtf8 } from 'node:buffer'
import { CloseCode } from '../protocol/codes.js'
import { HEADER_SIZE, ZLIB_MAGIC, isWellFormed, readUint32 } from '../protocol/frame.js'
import { Opcode } from '../protocol/opcodes.js'
import type { Connection } from './connection.js'
import { encodeMessage, receivedSize } from './encoding.js'
import type { Events } from './events.js'
import { BrokenStream, inflate } from './inflate.js'
import { exceedsDepth } from './json-depth.js'
import type { LiveState } from './live-state.js'
import type { Logger } from './logger.js'
import type { Metrics } from './metrics.js'
import type { FrameLimiter } from './rate-limit.js'
import type { RpcRegistry } from './rpc.js'
import type { Settings } from './settings.js'

/** Where frames go; the server's object graph has all of it. */
export interface Destinations {
  readonly settings: Settings
  readonly metrics: Metrics
  readonly log: Logger
  readonly limiter: FrameLimiter
  readonly rpc: RpcRegistry
  readonly events: Events
  readonly live: LiveState
}

/** A frame that is refused; the message says why. */
class BadFrame extends Error {}

type Members = Record<string, unknown>

/** Characters of a key or an epoch. */
const MAX_NAME = 8 * 1024

/** Bytes of a frame that costs nothing: a key with every character escaped fits. */
const MAX_FREE = 64 * 1024

/**
 * A message from a client: inflated, decoded and parsed once, then handed to who it is for.
 * Whatever it is, this does not throw.
 */
export function dispatch (to: Destinations, connection: Connection, data: Buffer, isBinary: boolean): void {
  if (!connection.isOpen) return
  to.metrics.messagesIn++
  to.metrics.bytesIn += receivedSize(data.length)
  if (!isBinary) return connection.refuseFrame(0, 'text messages are not part of this protocol', CloseCode.UNSUPPORTED_DATA)
  if (data.length > to.settings.maxPayload + HEADER_SIZE) return connection.close(CloseCode.TOO_BIG, 'frame over maxPayload')
  let correlationId = 0
  let frame: Buffer | undefined
  try {
    if (data[0] === ZLIB_MAGIC) {
      const retryAfter = connection.inflation.wait(to.settings.maxInflatedSize)
      if (retryAfter > 0) return connection.sendError(0, 'BUSY', 'too much was inflated for this connection within a second', { retryAfter })
      frame = inflate(data, to.settings.maxInflatedSize)
      connection.inflation.count(frame?.length ?? to.settings.maxInflatedSize)
      if (frame === undefined) return connection.refuseFrame(0, `frame inflates to more than ${to.settings.maxInflatedSize} bytes`, undefined, 'PAYLOAD_TOO_LARGE')
    } else {
      frame = data
    }
    if (!isWellFormed(frame)) throw new BadFrame('the frame is truncated, or its declared length is wrong')
    correlationId = readUint32(frame, 1)
    route(to, connection, frame, correlationId)
  } catch (error) {
    if (error instanceof BadFrame || error instanceof BrokenStream) return connection.refuseFrame(correlationId, error.message)
    to.log.error({ err: error, connectionId: connection.id }, 'a frame could not be handled')
    if (frame?.[0] === Opcode.RPC_REQ) to.rpc.failed(connection, correlationId)
    else connection.sendError(correlationId, 'INTERNAL', 'the frame could not be handled')
  }
}

function route (to: Destinations, connection: Connection, frame: Buffer, correlationId: number): void {
  const opcode = frame[0]!
  if (opcode > Opcode.CRDT_STATE && connection.protocol === 1) throw new BadFrame('the opcode needs protocol version 2')
  if (isFree(opcode) && frame.length > MAX_FREE) throw new BadFrame(`a frame of this kind has at most ${MAX_FREE} bytes`)
  switch (opcode) {
    case Opcode.RPC_REQ: {
      const { method, params, correlationId: id } = members(frame, to.settings.maxJsonDepth)
      if (id !== correlationId) throw new BadFrame('the correlationId of header and payload differ')
      return to.rpc.receive(connection, correlationId, string(method, 'method'), params, frame.length)
    }
    case Opcode.EVENT_C2S: {
      const { event, data } = members(frame, to.settings.maxJsonDepth)
      return to.events.receive(connection, correlationId, { event: string(event, 'event'), data }, frame.length)
    }
    case Opcode.PING:
      return connection.send(encodeMessage(Opcode.PONG, correlationId, 'null', Infinity))
    case Opcode.SUBSCRIBE: {
      const { key, epoch, version } = members(frame, to.settings.maxJsonDepth)
      if (epoch !== undefined) name(epoch, 'epoch')
      if (version !== undefined && !Number.isSafeInteger(version)) throw new BadFrame('the member "version" is not a whole number')
      return to.live.subscribe(connection, correlationId, name(key, 'key'), epoch as string | undefined, version as number | undefined)
    }
    case Opcode.UNSUBSCRIBE:
      return to.live.unsubscribe(connection, name(members(frame, to.settings.maxJsonDepth).key, 'key'))
    case Opcode.RPC_CANCEL:
      return to.rpc.cancel(connection, correlationId)
    case Opcode.CRDT_OP:
    case Opcode.STATE_PUSH: {
      const key = name(members(frame, to.settings.maxJsonDepth).key, 'key')
      const retryAfter = to.limiter.admit(connection, key, false)
      if (retryAfter > 0) return connection.sendError(correlationId, 'RATE_LIMITED', 'rate limit exceeded', { retryAfter })
      return connection.sendError(correlationId, 'UNKNOWN_KEY', 'nothing takes changes of this key', { key })
    }
    default:
      throw new BadFrame(`opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown, or not for clients to send`)
  }
}

/** What no rate limit counts: it has to be cheap, or 16 KiB on the wire would buy the inflation of 16 MiB, without end. */
function isFree (opcode: number): boolean {
  return opcode === Opcode.PING || opcode === Opcode.UNSUBSCRIBE || opcode === Opcode.RPC_CANCEL
}

/** The envelope is a level of its own: `maxDepth` is about what it carries. */
function members (frame: Buffer, maxDepth: number): Members {
  const payload = frame.subarray(HEADER_SIZE)
  if (!isUtf8(payload)) throw new BadFrame('the payload is not UTF-8')
  if (exceedsDepth(payload, maxDepth + 1)) throw new BadFrame(`the payload is nested deeper than ${maxDepth} levels`)
  let value: unknown
  try {
    value = JSON.parse(payload.toString())
  } catch {
    throw new BadFrame('the payload is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new BadFrame('the payload is not an object')
  return value as Members
}

function string (value: unknown, name: string): string {
  if (typeof value !== 'string') throw new BadFrame(`the member "${name}" is not a string`)
  return value
}

/** A string that is kept, and sent back, whoever made it up. */
function name (value: unknown, member: string): string {
  const text = string(value, member)
  if (text.length > MAX_NAME) throw new BadFrame(`the member "${member}" is longer than ${MAX_NAME} characters`)
  return text
}
