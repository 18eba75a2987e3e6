import { CloseCode, type ErrorCode, RpcCode } from '../../protocol/codes.js'
import type { ErrorMessage } from '../../protocol/messages.js'
import type { Rejection } from '../auth/admission.js'
import type { CloseReason } from '../auth/pending-upgrades.js'
import { Refusal } from '../errors/refusal.js'

/** HTTP status for the code of an ERROR frame. */
export const STATUS_OF_ERROR: Readonly<Record<ErrorCode, number>> = {
  BAD_FRAME: 400,
  PAYLOAD_TOO_LARGE: 413,
  RATE_LIMITED: 429,
  FORBIDDEN: 403,
  UNAUTHENTICATED: 401,
  UNKNOWN_KEY: 404,
  CONFLICT: 409,
  INVALID_PATCH: 422,
  INVALID_VALUE: 422,
  BUSY: 503,
  LIMIT_EXCEEDED: 413,
  CLOCK_SKEW: 409,
  INTERNAL: 500
}

/** HTTP status for the code of a failed call. Every other code is the application's, and is 422. */
export const STATUS_OF_RPC: Readonly<Record<number, number>> = {
  [RpcCode.INVALID_REQUEST]: 400,
  [RpcCode.METHOD_NOT_FOUND]: 404,
  [RpcCode.INVALID_PARAMS]: 422,
  [RpcCode.INTERNAL]: 500,
  [RpcCode.APPLICATION]: 422,
  [RpcCode.TIMEOUT]: 504,
  [RpcCode.CANCELLED]: 503,
  [RpcCode.FORBIDDEN]: 403,
  [RpcCode.WORKER_LOST]: 500,
  [RpcCode.RATE_LIMITED]: 429,
  [RpcCode.BUSY]: 503
}

/** HTTP status if the server closes the connection before it has answered. For every other code it is 503. */
export const STATUS_OF_CLOSE: Readonly<Record<number, number>> = {
  [CloseCode.TOO_BIG]: 413,
  [CloseCode.AUTH_EXPIRED]: 401,
  [CloseCode.CONTRACT_MISMATCH]: 409,
  [CloseCode.RATE_LIMITED]: 429
}

/** The default of `Retry-After` (ms), and the statuses after which a client may try again. */
const RETRY = 1000
const PASSING: readonly number[] = [429, 503]

/** Refuses a request, with a status and a JSON body. */
export class HttpRefusal extends Error {
  /** ms after which the client may try again */
  readonly retryAfter: number | undefined

  constructor (readonly status: number, readonly body: object, retryAfter?: number) {
    super('refused')
    this.retryAfter = retryAfter ?? (PASSING.includes(status) ? RETRY : undefined)
  }

  /** The answer that a refused upgrade would get. */
  static rejected ({ status, error }: Rejection): HttpRefusal {
    return new HttpRefusal(status, { statusCode: status, error })
  }

  static because (status: number, code: string, error: string, { retryAfter, issues }: Pick<Partial<ErrorMessage>, 'retryAfter' | 'issues'> = {}): HttpRefusal {
    return new HttpRefusal(status, { statusCode: status, code, error, issues }, retryAfter)
  }

  /** The answer for an ERROR frame, or for its code. A failure that may be retried is 503, not 500. */
  static of (code: ErrorCode, message: string, more: Partial<ErrorMessage> = {}): HttpRefusal {
    const status = code === 'INTERNAL' && more.retryAfter !== undefined ? 503 : STATUS_OF_ERROR[code]
    return HttpRefusal.because(status, code, message, more)
  }

  /** The answer after the connection was closed, for example by `disconnectUser`. */
  static closed ({ code, reason }: CloseReason): HttpRefusal {
    return HttpRefusal.because(STATUS_OF_CLOSE[code] ?? 503, 'CLOSED', reason)
  }

  /** The thrown error, if it is a refusal. */
  static from (thrown: unknown): HttpRefusal | undefined {
    if (thrown instanceof Refusal) return HttpRefusal.of(thrown.code, thrown.message, thrown.more)
    return thrown instanceof HttpRefusal ? thrown : undefined
  }
}
