import { RpcCode } from '../../protocol/codes.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { CallInFlight, Connection } from '../connection.js'
import { encodeMessage } from '../encoding.js'
import { RpcError, isThenable } from '../../protocol/errors.js'
import type { Logger } from '../logger.js'
import { type Method, toRpcError } from './method.js'
import type { Metrics } from '../metrics.js'
import { RpcContext, abortContext } from './rpc-context.js'

export interface CallHost {
  readonly metrics: Pick<Metrics, 'rpcErrors'>
  readonly log: Logger
  readonly compressionThreshold: number
}

/**
 * One call of a client. It is answered once: by its handler, its timeout or its cancellation,
 * whichever is first. It holds its place among the connection's calls until the handler has ended.
 */
export class Call implements CallInFlight {
  readonly #ctx: RpcContext
  #timer: NodeJS.Timeout | undefined
  #answered = false

  constructor (
    readonly host: CallHost,
    readonly connection: Connection,
    readonly correlationId: number,
    readonly method: Method,
    /** Bytes of the request's frame. */
    readonly size: number
  ) {
    this.#ctx = new RpcContext(connection.context, () => connection.messageContext.log)
  }

  get isAnswered (): boolean { return this.#answered }

  run (params: unknown): void {
    const { connection } = this
    ;(connection.calls ??= new Set()).add(this)
    connection.callBytes += this.size
    let outcome
    try {
      outcome = this.method.invoke(params, this.#ctx, this.#isAnswered)
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

  /** Answers with the reason, and tells the handler through its signal; what it still returns is dropped. */
  abort (reason: Error): void {
    if (this.#answered) return
    this.#fail(reason)
    abortContext(this.#ctx, reason)
  }

  /** Its hooks have begun at least. */
  withdraw (): boolean { return this.#answered }

  readonly #isAnswered = (): boolean => this.#answered

  #succeed (result: unknown): void {
    if (this.#answered) return
    let json: string | undefined
    try {
      json = JSON.stringify(result === undefined ? null : result)
    } catch (error) {
      this.host.log.error({ err: error, method: this.method.name }, 'a result cannot be written as JSON')
    }
    if (json === undefined) {
      return this.#fail(new RpcError(RpcCode.INTERNAL, `the result of method "${this.method.name}" cannot be written as JSON`, { code: 'INTERNAL' }))
    }
    this.#answer(`{"correlationId":${this.correlationId},"result":${json}}`)
  }

  #fail (thrown: unknown): void {
    if (this.#answered) return
    // nobody is there to be told
    if (!this.connection.isOpen) return this.#settle()
    this.#answer(errorAnswer(this.host, this.correlationId, toRpcError(thrown)))
  }

  #settle (): void {
    this.#answered = true
    clearTimeout(this.#timer)
  }

  #answer (json: string): void {
    this.#settle()
    this.connection.send(encodeMessage(Opcode.RPC_RES, this.correlationId, json, this.host.compressionThreshold))
  }

  #ended (): void {
    // a thenable may settle more than once
    if (this.connection.calls?.delete(this) !== true) return
    this.connection.callBytes -= this.size
  }
}

/**
 * The payload of an RPC_RES that refuses; counted.
 * @param begun false where the caller should hear that the call never ran
 */
export function errorAnswer ({ metrics, log }: CallHost, correlationId: number, { code, message, data }: RpcError, begun?: false): string {
  metrics.rpcErrors++
  try {
    return JSON.stringify({ correlationId, error: { code, message, data }, begun })
  } catch (error) {
    log.error({ err: error }, 'the data of an RPC error cannot be written as JSON, and is left out')
    return JSON.stringify({ correlationId, error: { code, message } })
  }
}
