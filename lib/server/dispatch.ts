import { randomUUID } from 'node:crypto'
import { CloseCode } from '../protocol/codes.js'
import { HEADER_SIZE, ZLIB_MAGIC, isWellFormed, readUint32 } from '../protocol/frame.js'
import { Opcode } from '../protocol/opcodes.js'
import type { Connection } from './connection/connection.js'
import { encodeMessage, receivedSize } from './connection/encoding.js'
import type { Events } from './events/events.js'
import { BrokenStream, inflate, inflateHead } from './connection/inflate.js'
import { Intake } from './connection/inbound-queue.js'
import type { TokenRefresh } from './auth/token-refresh.js'
import type { Wanted } from './keys/subscriptions.js'
import type { Keyspace } from './keyspace.js'
import type { Scope } from './scope/scope.js'
import type { Logger } from './context/logger.js'
import { BadFrame, members, string } from './connection/payload.js'
import type { Metrics } from './metrics/metrics.js'
import type { FrameLimiter, Limit } from './limits/frame-limiter.js'
import type { RpcRegistry } from './rpc/rpc.js'
import type { Settings } from './config/settings.js'
import type { Wait } from './connection/inbound-queue.js'
import type { Workers } from './workers/workers.js'

/** The parts of the server that frames go to. */
export interface Destinations {
  readonly settings: Settings
  readonly metrics: Metrics
  readonly log: Logger
  readonly root: Scope
  readonly rpc: RpcRegistry
  readonly events: Events
  readonly keyspace: Keyspace
  readonly tokens: TokenRefresh
  /** Handlers that run in threads. */
  readonly workers: readonly Workers[]
  /** The rate limits of a scope's methods, events and keys. */
  limiterOf (scope: Scope): FrameLimiter
}

/** Characters of a key or an epoch. */
const MAX_NAME = 8 * 1024

/** Characters of a token: as much as Node.js takes in the headers of an upgrade. */
const MAX_TOKEN = 16 * 1024

/** Bytes of a frame that costs nothing: a key with every character escaped fits. */
const MAX_FREE = 64 * 1024

/** ms that a client is told to wait where too many of its frames wait already. */
const OVERRUN = 100

const NO_HEAD = Buffer.alloc(0)

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
  let head: Buffer = NO_HEAD
  try {
    let frame: Buffer | undefined = data
    if (data[0] === ZLIB_MAGIC) {
      const { maxInflatedSize } = to.settings
      const retryAfter = connection.inflation.wait(maxInflatedSize)
      if (retryAfter > 0) return overrun(to, connection, inflateHead(data), 'too much was inflated for this connection within a second', retryAfter)
      frame = inflate(data, maxInflatedSize)
      connection.inflation.count(frame?.length ?? maxInflatedSize)
      if (frame === undefined) {
        head = inflateHead(data)
        throw new BadFrame(`frame inflates to more than ${maxInflatedSize} bytes`, 'PAYLOAD_TOO_LARGE')
      }
    }
    if (!isWellFormed(frame)) throw new BadFrame('the frame is truncated, or its declared length is wrong')
    head = frame
    if (connection.intake?.hasRoomFor(frame.length, to.settings.maxInflatedSize) === false && frame[0] !== Opcode.AUTH) {
      return overrun(to, connection, frame, 'too many frames wait for the rate limit', OVERRUN)
    }
    route(to, connection, frame, readUint32(frame, 1))
  } catch (error) {
    failed(to, connection, head, error)
  }
}

/** What a frame is answered under; 0 where that cannot be told. */
function idOf (head: Buffer): number {
  return head.length < HEADER_SIZE ? 0 : readUint32(head, 1)
}

/** @param head of the frame; empty where it is none */
function failed (to: Destinations, connection: Connection, head: Buffer, error: unknown): void {
  const correlationId = idOf(head)
  const isCall = head[0] === Opcode.RPC_REQ
  if (error instanceof BadFrame || error instanceof BrokenStream) {
    const code = error instanceof BadFrame ? error.code : undefined
    // a call is answered as well: clients of version 1 ignore ERROR
    connection.refuseFrame(correlationId, error.message, undefined, code)
    if (isCall) to.rpc.malformed(connection, correlationId, error.message, code)
    return
  }
  const id = randomUUID()
  to.log.error({ err: error, id, connectionId: connection.id }, 'a frame could not be handled')
  if (isCall) to.rpc.failed(connection, correlationId, id)
  else connection.sendError(correlationId, 'INTERNAL', 'the frame could not be handled', { id })
}

/** Counts as a refusal, so that who goes on regardless is closed in the end. */
function overrun (to: Destinations, connection: Connection, head: Buffer, message: string, retryAfter: number): void {
  const correlationId = idOf(head)
  to.limiterOf(to.root).refused(connection)
  if (head[0] !== Opcode.RPC_REQ) return connection.sendError(correlationId, 'BUSY', message, { retryAfter })
  to.metrics.rpcCalls++
  to.rpc.overrun(connection, correlationId, message, retryAfter)
}

/**
 * Hands a frame on once it is admitted and those before it have been handed on: at once, unless a store
 * has to be asked.
 * @param limiter undefined if the frame is free
 */
function inTurn (to: Destinations, connection: Connection, frame: Buffer, limiter: FrameLimiter | undefined, limit: Limit | undefined, method: string | undefined, handOn: (wait: Wait) => void): void {
  const decision = limiter === undefined ? 0 : limiter.admit(connection, limit!, method)
  if (typeof decision === 'number' && connection.intake === undefined) {
    if (decision > 0) limiter!.refused(connection, limit)
    return handOn(decision)
  }
  (connection.intake ??= new Intake(() => { connection.intake = undefined })).add(frame.length, decision, (wait) => {
    if (!connection.isOpen) return
    try {
      if (wait > 0) limiter!.refused(connection, limit)
      handOn(wait)
    } catch (error) {
      failed(to, connection, frame, error)
    }
  })
}

/** After every frame that came before. */
export function afterFrames (connection: Connection, fn: () => void): void {
  if (connection.intake === undefined) fn()
  else connection.intake.add(0, 0, fn)
}

function route (to: Destinations, connection: Connection, frame: Buffer, correlationId: number): void {
  const opcode = frame[0]!
  if (opcode > Opcode.CRDT_STATE && connection.protocol === 1) throw new BadFrame('the opcode needs protocol version 2')
  if (isFree(opcode) && frame.length > MAX_FREE) throw new BadFrame(`a frame of this kind has at most ${MAX_FREE} bytes`)
  const { keyspace, metrics, workers: [workers], settings: { maxJsonDepth, maxEventNameLength } } = to
  switch (opcode) {
    case Opcode.RPC_REQ: {
      const { method, params, correlationId: id } = workers?.call(frame, correlationId) ?? members(frame, maxJsonDepth)
      if (id !== correlationId) throw new BadFrame('the correlationId of header and payload differ')
      const called = string(method, 'method')
      metrics.rpcCalls++
      const limiter = to.limiterOf(to.rpc.scopeOf(called) ?? to.root)
      return inTurn(to, connection, frame, limiter, limiter.limitOf(called), to.rpc.has(called) ? called : undefined, (retryAfter) => {
        to.rpc.receive(connection, correlationId, called, params, frame.length, retryAfter)
      })
    }
    case Opcode.EVENT_C2S: {
      const { event: sent, data } = workers?.event(frame) ?? members(frame, maxJsonDepth)
      const event = string(sent, 'event')
      metrics.eventsIn++
      const limiter = to.limiterOf(to.events.scopeOf(event) ?? to.root)
      return inTurn(to, connection, frame, limiter, limiter.limitOf(event), to.events.has(event) ? event : undefined, (retryAfter) => {
        if (retryAfter === 0 && event.length > maxEventNameLength) metrics.eventsDropped++
        else to.events.receive(connection, correlationId, { event, data }, frame.length, retryAfter)
      })
    }
    case Opcode.PING:
      return inTurn(to, connection, frame, undefined, undefined, undefined, () => {
        connection.send(encodeMessage(Opcode.PONG, correlationId, 'null', Infinity))
      })
    case Opcode.SUBSCRIBE: {
      const { key: asked, epoch, version, type, nodeId } = members(frame, maxJsonDepth)
      const key = name(asked, 'key')
      if (epoch !== undefined) name(epoch, 'epoch')
      if (type !== undefined) name(type, 'type')
      if (nodeId !== undefined) name(nodeId, 'nodeId')
      if (version !== undefined && !Number.isSafeInteger(version)) throw new BadFrame('the member "version" is not a whole number')
      const limiter = to.limiterOf(keyspace.keys.scopeOf(key))
      return inTurn(to, connection, frame, limiter, limiter.subscriptions, '$subscribe', (retryAfter) => {
        keyspace.subscriptions.subscribe(connection, correlationId, key, { epoch, version, type, nodeId } as Wanted, retryAfter)
      })
    }
    case Opcode.UNSUBSCRIBE: {
      const key = name(members(frame, maxJsonDepth).key, 'key')
      return inTurn(to, connection, frame, undefined, undefined, undefined, () => {
        keyspace.subscriptions.unsubscribe(connection, key)
      })
    }
    case Opcode.RPC_CANCEL:
      return inTurn(to, connection, frame, undefined, undefined, undefined, () => { to.rpc.cancel(connection, correlationId) })
    case Opcode.AUTH: {
      const token = string(members(frame, maxJsonDepth).token, 'token')
      if (token.length > MAX_TOKEN) throw new BadFrame(`a token has at most ${MAX_TOKEN} characters`)
      return to.tokens.receive(connection, correlationId, token)
    }
    case Opcode.CRDT_OP: {
      // a value may be as deep as any: it stands inside an operation
      const { key: asked, op } = members(frame, maxJsonDepth + 1)
      const key = name(asked, 'key')
      const limiter = to.limiterOf(keyspace.keys.scopeOf(key))
      return inTurn(to, connection, frame, limiter, limiter.limitOf(key), undefined, (retryAfter) => {
        keyspace.crdts.inbox.receive(connection, correlationId, key, op, frame.length, retryAfter)
      })
    }
    case Opcode.STATE_PUSH: {
      // a pushed value may be as deep as any: it stands inside an operation of a list
      const push = members(frame, maxJsonDepth + 2)
      const key = name(push.key, 'key')
      const limiter = to.limiterOf(keyspace.keys.scopeOf(key))
      return inTurn(to, connection, frame, limiter, limiter.limitOf(key), keyspace.channels.get(key) === undefined ? undefined : key, (retryAfter) => {
        keyspace.channels.receive(connection, correlationId, key, push, frame.length, retryAfter)
      })
    }
    default:
      throw new BadFrame(`opcode 0x${opcode.toString(16).padStart(2, '0')} is unknown, or not for clients to send`)
  }
}

/** What no rate limit counts (tokens are counted by who asked for them): it has to be cheap, or 16 KiB on the wire would buy the inflation of 16 MiB, without end. */
function isFree (opcode: number): boolean {
  return opcode === Opcode.PING || opcode === Opcode.UNSUBSCRIBE || opcode === Opcode.RPC_CANCEL || opcode === Opcode.AUTH
}

/** A string that is kept, and sent back, whoever made it up. */
function name (value: unknown, member: string): string {
  const text = string(value, member)
  if (text.length > MAX_NAME) throw new BadFrame(`the member "${member}" is longer than ${MAX_NAME} characters`)
  return text
}
