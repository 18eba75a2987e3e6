import { randomUUID } from 'node:crypto'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError, isA, isThenable, memberOf, messageOf, notSynchronous } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { Logger } from '../context/logger.js'
import type { ErrorContext } from '../config/server-options.js'
import type { Settings } from '../config/settings.js'
import { Refusal } from './refusal.js'

/** The parts of the server that these functions need. */
export interface ThrownHost {
  readonly settings: Pick<Settings, 'errorHandler' | 'maxJsonDepth'>
  readonly log: Logger
}

type Where = Omit<ErrorContext, 'id'>

/** Marks an error as thrown by a hook, not by a handler. */
export class HookThrew {
  constructor (readonly thrown: unknown) {}
}

/** `retryAfter` (ms) if a hook failed. */
const RETRY = 1000

/** Codes of failed calls that a hook made itself. They do not mean that the hook refuses. */
const FAILED_CALLS: readonly unknown[] = [RpcCode.INTERNAL, RpcCode.TIMEOUT, RpcCode.CANCELLED, RpcCode.WORKER_LOST, RpcCode.RATE_LIMITED, RpcCode.BUSY]
const FAILURES: readonly unknown[] = ['BACKEND_UNAVAILABLE', 'BACKEND_REFUSED', 'OUTCOME_UNKNOWN', 'BUSY', 'CONFLICT', 'NOT_STARTED', 'CLOSED', 'INTERNAL', 'INVALID_RESULT']

/** The error that a caller gets for a value that a handler or a `preRpc` hook threw. */
export function rpcErrorOf (host: ThrownHost, thrown: unknown, method: string, connection: ConnectionContext): RpcError {
  const isHook = isA(thrown, HookThrew)
  const original = isHook ? thrown.thrown : thrown
  const ctx: ErrorContext = { source: isHook ? 'preRpc' : 'rpc', id: randomUUID(), method, connection }
  const error = decide(host, original, ctx)
  if (isHook && !hasNumber(error) && refuses(error)) return new RpcError(RpcCode.FORBIDDEN, refusalText(error), { code: 'FORBIDDEN' }, { cause: original })
  if (travels(error)) {
    const data = memberOf(error, 'data')
    if (data === undefined && isA(error, RpcError)) return error
    return new RpcError(hasNumber(error) ? memberOf(error, 'code') as number : RpcCode.APPLICATION, messageOf(error), jsonOf(host, data, ctx), { cause: original })
  }
  report(host.log, error, ctx)
  return new RpcError(RpcCode.INTERNAL, 'internal error', { code: 'INTERNAL', id: ctx.id, ...isHook && { retryAfter: RETRY } }, { cause: original })
}

/** The refusal for an error of a hook: FORBIDDEN, or INTERNAL, after which the client may retry. Logs a failure. */
export function refusalOf (host: ThrownHost, thrown: unknown, where: Where): Refusal {
  const ctx = { ...where, id: randomUUID() }
  const error = decide(host, thrown, ctx)
  if (refuses(error)) return new Refusal('FORBIDDEN', refusalText(error))
  report(host.log, error, ctx)
  return travels(error)
    ? new Refusal('INTERNAL', messageOf(error), { retryAfter: RETRY })
    : new Refusal('INTERNAL', 'internal error', { retryAfter: RETRY, id: ctx.id })
}

/** The reason that a client gets when `validate` refuses a value. Logs a bug in `validate`. */
export function invalidityOf (host: ThrownHost, thrown: unknown, where: Where): string {
  const ctx = { ...where, id: randomUUID() }
  const error = decide(host, thrown, ctx)
  if (travels(error) || isDatasoleError(error)) return messageOf(error)
  report(host.log, error, ctx)
  return `the value could not be validated (${ctx.id})`
}

/** Whether an error is meant for the client. Tested by shape, since it may come from another copy of the package. */
export function travels (thrown: unknown): boolean {
  if (typeof thrown !== 'object' || thrown === null) return false
  if (isRpcError(thrown)) return true
  const expose = memberOf(thrown, 'expose')
  if (typeof expose === 'boolean') return expose
  return hasNumber(thrown) || isClientsFault(memberOf(thrown, 'statusCode')) || (isPlain(thrown) && memberOf(thrown, 'code') === undefined)
}

function refuses (thrown: unknown): boolean {
  if (isRpcError(thrown)) return !FAILED_CALLS.includes(memberOf(thrown, 'code'))
  if (isDatasoleError(thrown)) return !FAILURES.includes(memberOf(thrown, 'code'))
  const statusCode = memberOf(thrown, 'statusCode')
  if (statusCode !== undefined) return statusCode === 401 || statusCode === 403
  return isPlain(thrown) && (memberOf(thrown, 'code') === undefined || hasNumber(thrown))
}

function refusalText (error: unknown): string {
  return travels(error) || isDatasoleError(error) ? messageOf(error) : 'forbidden'
}

function isRpcError (thrown: unknown): boolean {
  return memberOf(thrown, 'name') === 'RpcError' && hasNumber(thrown)
}

function isDatasoleError (thrown: unknown): boolean {
  return memberOf(thrown, 'name') === 'DatasoleError' && typeof memberOf(thrown, 'code') === 'string'
}

/** Whether an application chose a numeric code. Codes of DOMException (20 for AbortError) say nothing about a call. */
function hasNumber (thrown: unknown): boolean {
  return Number.isInteger(memberOf(thrown, 'code')) && tagOf(thrown) !== 'DOMException'
}

function isClientsFault (statusCode: unknown): boolean {
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500
}

/** Whether an error was made by `new Error`, in any realm. */
export function isPlain (thrown: unknown): boolean {
  if (tagOf(thrown) !== 'Error') return false
  try {
    const prototype = Object.getPrototypeOf(thrown) as object
    return Object.hasOwn(prototype, 'constructor') && (prototype.constructor as { name?: unknown }).name === 'Error'
  } catch {
    return false // a getter of the error threw
  }
}

function tagOf (thrown: unknown): string | undefined {
  try {
    return Object.prototype.toString.call(thrown).slice(8, -1)
  } catch {
    return undefined // a getter of the error threw
  }
}

/** The error that `errorHandler` returns in place of the original, or the original. */
function decide ({ settings: { errorHandler }, log }: ThrownHost, thrown: unknown, ctx: ErrorContext): unknown {
  if (errorHandler === undefined) return thrown
  try {
    const decided: unknown = errorHandler(thrown, ctx)
    if (decided === undefined) return thrown
    if (isThenable(decided) || typeof memberOf(decided, 'message') !== 'string') throw notSynchronous('errorHandler', 'an Error or undefined', decided)
    return decided
  } catch (error) {
    report(log, error, ctx, 'the errorHandler failed')
    return thrown
  }
}

/** The data of an error, as a JSON copy. */
function jsonOf ({ settings, log }: ThrownHost, data: unknown, ctx: ErrorContext): unknown {
  try {
    return data === undefined ? undefined : copyJson(data, settings.maxJsonDepth)
  } catch (error) {
    report(log, error, ctx, 'the data of an error was left out: it cannot be written as JSON')
    return undefined
  }
}

const TEXTS = { rpc: 'a method failed', validate: 'the validate function of a channel failed' } as const

function report (log: Logger, error: unknown, { source, connection: { connectionId }, ...about }: ErrorContext, text: string = TEXTS[source as 'rpc'] ?? `a hook ${source} failed`): void {
  const bindings = { ...about, connectionId }
  try {
    log.error({ ...bindings, err: typeof memberOf(error, 'message') === 'string' ? error : { message: messageOf(error) } }, text)
  } catch {
    log.error({ ...bindings, err: { message: messageOf(error) } }, text) // the logger cannot read the error
  }
}
