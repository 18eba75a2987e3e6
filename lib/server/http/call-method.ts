import { isUtf8 } from 'node:buffer'
import { RpcCode } from '../../protocol/codes.js'
import type { RpcError, RpcResponse } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { exceedsDepth } from '../connection/json-depth.js'
import type { Exchange } from './exchange.js'
import { HttpRefusal, STATUS_OF_RPC } from './http-refusal.js'

export interface MethodCall {
  method: string
  /** JSON text; undefined for a call without parameters. */
  params: string | undefined
  /** The `traceparent` of the caller's span (W3C Trace Context). */
  traceparent: string | undefined
}

/**
 * Calls a method as a client does. If the exchange ends first, the handler's signal is aborted.
 * @throws HttpRefusal with the error that a client would get
 * @returns the result
 */
export async function callMethod (exchange: Exchange, { method, params, traceparent }: MethodCall): Promise<unknown> {
  const given = params === undefined ? '' : `,"params":${params}`
  const trace = traceparent === undefined ? '' : `,"traceparent":${JSON.stringify(traceparent)}`
  const request = `{"correlationId":1,"method":${JSON.stringify(method)}${given}${trace}}`
  const frame = await exchange.ask(Opcode.RPC_REQ, request, [Opcode.RPC_RES])
  const { result, error } = JSON.parse(frame!.payload.toString()) as RpcResponse
  if (error !== undefined) throw failed(error)
  return result
}

function failed (error: RpcError): HttpRefusal {
  const { retryAfter } = (error.data ?? {}) as { retryAfter?: unknown }
  // a hook failed, and may succeed at another time
  const status = error.code === RpcCode.INTERNAL && retryAfter !== undefined ? 503 : STATUS_OF_RPC[error.code] ?? 422
  return new HttpRefusal(status, { error }, typeof retryAfter === 'number' ? retryAfter : undefined)
}

/**
 * The JSON text of a body.
 * @param maxDepth levels of nesting
 * @throws HttpRefusal 400 if the body is not JSON, or is nested too deep
 */
export function jsonTextOf (body: Buffer, maxDepth: number): string {
  const refuse = (why: string): HttpRefusal => HttpRefusal.of('BAD_FRAME', `the body is ${why}`)
  if (!isUtf8(body)) throw refuse('not UTF-8')
  if (exceedsDepth(body, maxDepth)) throw refuse(`nested deeper than ${maxDepth} levels`)
  const text = body.toString()
  try {
    JSON.parse(text)
  } catch {
    throw refuse('not JSON')
  }
  return text
}
