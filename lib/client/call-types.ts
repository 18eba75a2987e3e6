import type { RpcErrorOf, RpcName, RpcResult } from '../protocol/contract.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { CallOptions } from './pending-calls.js'

/** The outcome of a call. */
export type RpcOutcome<C, M extends RpcName<C>> = { ok: true, result: RpcResult<C, M> } | { ok: false, error: RpcErrorOf<C, M> }

/** The parameters are optional if they may be undefined. */
export type CallArguments<P> = undefined extends P ? [params?: P | DeepReadonly<P>, options?: CallOptions] : [params: P | DeepReadonly<P>, options?: CallOptions]
export interface EmitOptions { /** your span (W3C Trace Context) */ traceparent?: string }
export type EventArguments<T> = undefined extends T ? [data?: T | DeepReadonly<T>, options?: EmitOptions] : [data: T | DeepReadonly<T>, options?: EmitOptions]
