import { setMaxListeners } from 'node:events'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError } from '../../protocol/errors.js'
import type { AuthResult, ConnectionContext, MessageContext } from './connection-context.js'
import type { Logger } from './logger.js'

/** @internal Aborts the signal of a context. Only the call that created the context may do that. */
export let abortContext: (context: RpcContext, reason: Error) => void

/** @internal Gives a context the check for the details of the errors that its method declares. */
export let declareErrors: (context: RpcContext, check: (code: string, details: unknown) => unknown) => void

/** The context of a method's handler. `Errors` maps the codes that the contract declares to their details. */
export class RpcContext<Errors = Record<string, unknown>> implements MessageContext {
  /** The result of the auth handler. */
  readonly auth?: AuthResult
  /** The id of the caller's connection; `local` for `rpc.call` without one. */
  readonly connectionId: string
  /** The caller: userId, metadata, tags, and stored values. */
  readonly connection: ConnectionContext
  readonly #source: { readonly log: Logger }
  #controller: AbortController | undefined
  #reason: Error | undefined
  #checkError: ((code: string, details: unknown) => unknown) | undefined

  /** @param source its `log` is read when the handler asks for the logger */
  constructor (connection: ConnectionContext, source: { readonly log: Logger }, auth: AuthResult | undefined = connection.auth) {
    this.auth = auth
    this.connectionId = connection.connectionId
    this.connection = connection
    this.#source = source
  }

  /** Aborted when the client cancels the call or disconnects, and at the call's timeout. */
  get signal (): AbortSignal {
    // created on demand: few handlers use it, and creating one costs more than the rest of a small call
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      // a handler may pass it to many operations, and Node.js 20 warns of a leak at the 11th listener
      setMaxListeners(0, this.#controller.signal)
      if (this.#reason !== undefined) this.#controller.abort(this.#reason)
    }
    return this.#controller.signal
  }

  /** The server's logger. For a client's call each line has the `connectionId`. */
  get log (): Logger { return this.#source.log }

  /**
   * Makes an error that the contract declares for the method: `throw ctx.error('OVERFLOW', { max: 10 })`. The caller
   * tests for it with `error.is('OVERFLOW')`.
   * @param code the name of the error in the contract
   * @param details plain JSON, as the contract describes it
   * @returns the error, to be thrown
   * @throws TypeError `INVALID_VALUE` if the contract has no such error, or refuses the details
   */
  error<Code extends keyof Errors & string> (code: Code, details: Errors[Code]): RpcError {
    return new RpcError(RpcCode.APPLICATION, code, { code, details: this.#checkError === undefined ? details : this.#checkError(code, details) })
  }

  static {
    declareErrors = (context, check) => { context.#checkError = check }
    abortContext = (context, reason) => {
      context.#reason ??= reason
      context.#controller?.abort(reason)
    }
  }
}
