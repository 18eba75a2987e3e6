import type { MessagePort } from 'node:worker_threads'
import { DatasoleError, RpcError, memberOf, messageOf } from '../protocol/errors.js'
import type { ProtocolVersion } from '../protocol/opcodes.js'
import type { Transport } from '../server/context/connection-context.js'
import { isPlain } from '../server/errors/thrown.js'
import type { WorkerLimits } from './executor.js'

/** The first message to a thread. */
export interface WorkerSetup {
  port: MessagePort
  /** URL of the user's module. */
  script: string
  /** URL of the module that compiles schemas; see `SchemaModule`. */
  schemas: string | undefined
  limits: WorkerLimits
  /** Counts progress of the thread, so that the main thread can detect a blocked event loop. */
  progress: Int32Array
  /** Enabled log levels. */
  levels: string[]
}

/** Cloned members, and the names of members that cannot be cloned, with the reason. */
export interface ClonedMembers {
  present: Array<[name: string, value: unknown]>
  missing: Array<[name: string, why: string]>
}

/** A connection in the form of a message. */
export interface ConnectionCopy {
  /** The number of this copy of the connection. */
  revision: number
  connectionId: string
  remoteAddress: string
  protocol: ProtocolVersion
  transport: Transport
  auth: ClonedMembers
  metadata: ClonedMembers | undefined
  values: ClonedMembers
  tags: string[]
}

/** An error in the form of a message, because a structured clone loses most members of an error. */
export interface ErrorCopy {
  /** Name of the constructor. */
  type: string
  name: string
  message: string
  code?: string | number
  statusCode?: number
  expose?: boolean
  data?: unknown
  stack?: string
  cause?: ErrorCopy
}

export const ToWorker = { CONNECTION: 0, FORGET: 1, TASK: 2, ABORT: 3, REPLY: 4, PING: 5, LOGGED: 6, MEASURE: 7 } as const

/** A message from the main thread. `ref` is a connection (0 for none), `id` a task, `requestId` a request of the worker. */
export type ToWorker =
  | [kind: typeof ToWorker.CONNECTION, ref: number, copy: ConnectionCopy]
  | [kind: typeof ToWorker.FORGET, ref: number]
  | [kind: typeof ToWorker.TASK, id: number, isCall: boolean, isLocal: boolean, ref: number, correlationId: number, payload: string | Uint8Array, traceparent?: string]
  | [kind: typeof ToWorker.ABORT, id: number, code: number, message: string, data: unknown]
  | [kind: typeof ToWorker.REPLY, requestId: number, result: string | undefined, error: ErrorCopy | undefined]
  | [kind: typeof ToWorker.PING]
  | [kind: typeof ToWorker.LOGGED, count: number]
  | [kind: typeof ToWorker.MEASURE, isMeasured: boolean]

export const FromWorker = { READY: 0, FAILED: 1, ANSWER: 2, MALFORMED: 3, ENDED: 4, TAG: 5, VALUE: 6, REQUEST: 7, LOG: 8, PONG: 9, THROWN: 10 } as const

/** A message from a worker. A task ends with one ANSWER, THROWN, MALFORMED or ENDED. */
export type FromWorker =
  | [kind: typeof FromWorker.READY, methods: Array<{ name: string, timeoutMs: number }>, events: string[]]
  | [kind: typeof FromWorker.FAILED, error: unknown, copy: ErrorCopy]
  | [kind: typeof FromWorker.ANSWER, id: number, message: string | Uint8Array]
  | [kind: typeof FromWorker.MALFORMED, id: number, message: string]
  | [kind: typeof FromWorker.ENDED, id: number]
  | [kind: typeof FromWorker.TAG, ref: number, revision: number, tag: string, isAdded: boolean]
  | [kind: typeof FromWorker.VALUE, ref: number, revision: number, key: string, value: unknown]
  | [kind: typeof FromWorker.REQUEST, requestId: number, name: string, args: string, traceparent?: string]
  | [kind: typeof FromWorker.LOG, level: string, data: string, message: string | undefined]
  | [kind: typeof FromWorker.PONG]
  | [kind: typeof FromWorker.THROWN, id: number, error: ErrorCopy]

/** `sentAt` in ms of `sharedNow`. */
export type BatchToWorker = [sentAt: number, messages: ToWorker[]]

/**
 * Totals since the thread started: number of started tasks, their waiting time in ms, and their synchronous running
 * time in ms. `pending` is the current number of event handlers with a pending promise.
 */
export type Totals = [tasks: number, waitMs: number, runMs: number, pending: number]
/** `waits`: waiting times in ms of the tasks started since the last batch, while waiting times are recorded. */
export type BatchFromWorker = [head: { totals: Totals, waits?: number[] }, messages: FromWorker[]]

/** Payloads and answers up to this many bytes are sent as strings, which is cheaper. Larger ones are transferred. */
export const SMALL = 4096

/** Monotonic time in ms that all threads share, unlike `performance.now()`, which starts at 0 in each thread. */
export function sharedNow (): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e3 + nanoseconds / 1e6
}

/** Maximum number of causes to copy with an error. */
const MAX_CAUSES = 5

/** Copies any thrown value, without its `data`. */
export function copyError (thrown: unknown, causes = MAX_CAUSES): ErrorCopy {
  const [code, statusCode, expose, stack, cause] = ['code', 'statusCode', 'expose', 'stack', 'cause'].map((name) => memberOf(thrown, name))
  const type = String(memberOf(memberOf(thrown, 'constructor'), 'name'))
  const { name } = { name: memberOf(thrown, 'name') }
  const copy: ErrorCopy = { type: type === 'Error' && !isPlain(thrown) ? 'ForeignError' : type, name: typeof name === 'string' ? name : type, message: messageOf(thrown) }
  // skip the legacy numeric codes of DOMException
  if (typeof code === 'string' || (typeof code === 'number' && type !== 'DOMException')) copy.code = code
  if (typeof statusCode === 'number') copy.statusCode = statusCode
  if (typeof expose === 'boolean') copy.expose = expose
  if (typeof stack === 'string') copy.stack = stack
  if (cause !== undefined && causes > 0) copy.cause = copyError(cause, causes - 1)
  return copy
}

const BUILT_IN: Record<string, ErrorConstructor | undefined> = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError }

/** Restores an error with its members. Its class is restored if it is JavaScript's or datasole's own. */
export function reviveError (copy: ErrorCopy): Error {
  const error = blankError(copy)
  for (const member of ['code', 'statusCode', 'expose', 'data', 'stack'] as const) if (copy[member] !== undefined) Object.defineProperty(error, member, { value: copy[member], writable: true, configurable: true, enumerable: member !== 'stack' })
  if (copy.cause !== undefined) error.cause = reviveError(copy.cause)
  return error
}

function blankError ({ type, name, message, code, data }: ErrorCopy): Error {
  if (name === 'DatasoleError' && typeof code === 'string') return new DatasoleError(code, message)
  if (name === 'RpcError' && typeof code === 'number') return new RpcError(code, message, data)
  if (Object.hasOwn(BUILT_IN, type)) return Object.assign(new BUILT_IN[type]!(message), name !== type && { name })
  // give it a class of the same name, because logs show the name of the constructor
  const Foreign = { [type]: class extends Error {} }[type]!
  return Object.assign(new Foreign(message), { name })
}

/** The bytes of an answer. */
export function bytesOf (answer: string | Uint8Array): Buffer {
  if (typeof answer === 'string') return Buffer.from(answer, 'latin1')
  return Buffer.from(answer.buffer, answer.byteOffset, answer.byteLength)
}

/** The `data` of an abort reason, as plain JSON. */
export function jsonOrNothing (data: unknown): unknown {
  return data === undefined ? undefined : JSON.parse(JSON.stringify(data))
}
