import type { HandlerErrors, HandlerParams, HandlerResult, RpcName, RpcParams, RpcResult } from '../../protocol/contract.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { RpcHandler, RpcOptions } from './method.js'
import type { LocalCallContext, RpcRegistry } from './rpc.js'

/** `ds.rpc`: methods that clients call. */
export class RpcFacade<C, S> extends ScopedFacade<S> {
  readonly #rpc: RpcRegistry

  constructor (rpc: RpcRegistry, server: S, scope: Scope) {
    super(server, scope)
    this.#rpc = rpc
  }

  /**
   * Registers a method.
   * @param method its name, by which clients call it
   * @param options schemas of parameters and result, and `timeoutMs` (ms, default the server's `rpcTimeoutMs`)
   * @param handler gets the parameters and a context. The value that it returns or resolves to is the answer, as JSON.
   *   The client gets message, numeric `code` and `data` of errors that are meant for it: an RpcError, an error with a
   *   numeric `code`, `expose: true` or a `statusCode` below 500, a plain `Error`. For other errors it gets an id
   * @throws DatasoleError `DUPLICATE_METHOD` if the name is taken; `INVALID_METHOD` for a wrong name or handler;
   *   `INVALID_OPTION`, naming the option
   */
  register<M extends RpcName<C>> (method: M, handler: RpcHandler<HandlerParams<C, M>, HandlerResult<C, M>, HandlerErrors<C, M>>): void
  register<M extends RpcName<C>> (method: M, options: RpcOptions, handler: RpcHandler<HandlerParams<C, M>, HandlerResult<C, M>, HandlerErrors<C, M>>): void
  register (method: string, options: RpcOptions | RpcHandler<never>, handler?: RpcHandler<never>): void {
    if (typeof options === 'function') this.#rpc.register(method, {}, options as RpcHandler, this.scope)
    else this.#rpc.register(method, options, handler as RpcHandler, this.scope)
  }

  /**
   * Runs a method in this process, for HTTP routes and tests. Hooks and schema apply; limits on clients do not.
   * Parameters and result are JSON copies. A result of undefined becomes null.
   * @param method its name
   * @param params plain JSON
   * @param context the caller: `auth`, `connection`, and a `signal` that cancels. Default: no caller
   * @returns the result
   * @throws RpcError with `code` and `data`, as a client would get it; its `cause` is the original error
   * @throws TypeError `INVALID_JSON` with the path if JSON cannot hold the parameters; RangeError `TOO_DEEP`
   */
  call<M extends RpcName<C>> (method: M, params: RpcParams<C, M>, context?: LocalCallContext): Promise<RpcResult<C, M>> {
    return this.#rpc.call(method, params, context) as Promise<RpcResult<C, M>>
  }
}
