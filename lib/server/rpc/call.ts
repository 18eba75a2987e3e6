import { RpcCode } from '../../protocol/codes.js'
import type { RpcResponse } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import { type CallInFlight, CallsInFlight } from '../connection/calls-in-flight.js'
import type { Logger } from '../context/logger.js'
import type { Connection } from '../connection/connection.js'
import { RpcError, isThenable, memberOf } from '../../protocol/errors.js'
import { type Method, resultJson } from './method.js'
import type { Metrics } from '../metrics/metrics.js'
import { rpcReason } from '../metrics/refusals.js'
import { RpcContext, abortContext } from '../context/rpc-context.js'
import { type ThrownHost, rpcErrorOf } from '../errors/thrown.js'

/** Marks a call that never ran. With `again`, the client may make it again on this connection. */
export type NeverBegun = Pick<RpcResponse, 'again'> & { begun: false }

export interface CallHost extends ThrownHost {
  readonly metrics: Pick<Metrics, 'rpcErrors' | 'refused' | 'begin' | 'end' | 'tracer'>
}

/**
 * A client's call. It is answered once: by its handler, its timeout or its cancellation, whichever is first. It counts
 * as in flight until the handler has ended.
 */
export class Call implements CallInFlight {
  readonly #ctx: RpcContext
  #timer: NodeJS.Timeout | undefined
  #answered = false
  previous: CallInFlight | undefined
  next: CallInFlight | undefined
  readonly #began: number

  constructor (
    readonly host: CallHost,
    readonly connection: Connection,
    readonly correlationId: number,
    readonly method: Method,
    /** Bytes of the request's frame. */
    readonly size: number
  ) {
    this.#ctx = new RpcContext(connection.context, this)
    this.#began = host.metrics.begin()
  }

  get log (): Logger { return this.connection.messageContext.log }
  get isAnswered (): boolean { return this.#answered }

  /** @param traceparent of the client's span, if it sent one */
  run (params: unknown, traceparent?: unknown): void {
    const { connection } = this
    ;(connection.work.calls ??= new CallsInFlight()).add(this)
    let outcome
    try {
      const { tracer } = this.host.metrics
      outcome = tracer === undefined ? this.method.invoke(params, this.#ctx, this) : tracer.run('rpc', this.method.name, () => this.method.invoke(params, this.#ctx, this), tracer.from(traceparent))
      if (isThenable(outcome)) return this.#await(outcome)
    } catch (thrown) {
      this.#fail(thrown)
      return this.#ended()
    }
    this.#succeed(outcome)
    this.#ended()
  }

  #await (outcome: PromiseLike<unknown>): void {
    const { timeoutMs } = this.method
    if (timeoutMs > 0) {
      this.#timer = setTimeout(() => this.abort(new RpcError(RpcCode.TIMEOUT, `method "${this.method.name}" took longer than ${timeoutMs} ms`, { code: 'TIMEOUT' })), timeoutMs)
    }
    outcome.then(
      (result) => { this.#succeed(result); this.#ended() },
      (thrown: unknown) => { this.#fail(thrown); this.#ended() }
    )
  }

  /** Answers with the reason and aborts the handler's signal. A later result of the handler is dropped. */
  abort (reason: RpcError): void {
    if (this.#answered) return
    this.#refuse(reason)
    abortContext(this.#ctx, reason)
  }

  /** Cannot be withdrawn: its hooks at least have begun. True if it has been answered. */
  withdraw (): boolean { return this.#answered }

  #succeed (result: unknown): void {
    if (this.#answered) return
    let json: string
    try {
      json = resultJson(this.method.name, result, this.host.settings.maxJsonDepth)
    } catch (error) {
      return this.#fail(error)
    }
    this.#answer(`{"correlationId":${this.correlationId},"result":${json}}`)
  }

  #fail (thrown: unknown): void {
    if (this.#answered && isAbort(thrown)) return
    const error = rpcErrorOf(this.host, thrown, this.method.name, this.connection.context)
    if (!this.#answered) this.#refuse(error)
  }

  #refuse (error: RpcError): void {
    // the client has gone
    if (!this.connection.isOpen) return this.#settle(true)
    this.#answer(errorAnswer(this.host, this.correlationId, error), true)
  }

  #settle (hasFailed: boolean): void {
    this.#answered = true
    clearTimeout(this.#timer)
    this.host.metrics.end('rpc', this.method.name, this.#began, hasFailed)
  }

  #answer (json: string, hasFailed = false): void {
    this.#settle(hasFailed)
    this.connection.answer(Opcode.RPC_RES, this.correlationId, json)
  }

  #ended (): void {
    // a thenable may settle more than once
    if (this.connection.calls?.delete(this) !== true) return
    this.connection.work.callBudget!.leave(this.size)
  }
}

/** The usual error of a handler whose signal was aborted. It need not be reported once the call is answered. */
export function isAbort (thrown: unknown): boolean {
  return memberOf(thrown, 'name') === 'AbortError'
}

/**
 * The payload of an RPC_RES with an error. Counts the error.
 * @param never set if the client should learn that the call never ran
 */
export function errorAnswer ({ metrics }: Pick<CallHost, 'metrics'>, correlationId: number, { code, message, data }: RpcError, never?: NeverBegun): string {
  metrics.rpcErrors++
  metrics.refused('rpc', rpcReason(code))
  return JSON.stringify({ correlationId, error: { code, message, data }, ...never })
}
