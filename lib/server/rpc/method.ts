import type { Executor } from '../../executor/executor.js'
import { RpcCode } from '../../protocol/codes.js'
import { RpcError, isThenable, memberOf, messageOf } from '../../protocol/errors.js'
import { type Scope, runHooks } from '../hooks.js'
import type { RpcContext } from './rpc-context.js'

export type RpcHandler<P = unknown, R = unknown> = (params: P, ctx: RpcContext) => R | Promise<R>

export interface RpcOptions {
  /** JSON Schemas of what the method takes and gives. Nothing is coerced; a mismatch is -32602 or -32603. */
  schema?: { params?: object, result?: object }
  /** ms; default the server's `rpcTimeoutMs`, 0 for no limit. */
  timeoutMs?: number
}

type Check = (data: unknown) => object[] | null

/** A registered method: hooks, then validation, then the handler. */
export class Method {
  #checkParams: Check | undefined
  #checkResult: Check | undefined
  #compiled = false

  constructor (
    readonly name: string,
    readonly timeoutMs: number,
    readonly options: RpcOptions,
    readonly handler: RpcHandler,
    readonly scope: Scope
  ) {}

  /** Returns, throws, resolves or rejects as the handler does. Costs no promise where nothing is asynchronous. */
  invoke (params: unknown, ctx: RpcContext, isCancelled: () => boolean): unknown {
    const hooks = this.scope.chain('preRpc')
    if (hooks.length === 0) return this.#handle(params, ctx)
    let ready
    try {
      ready = runHooks(hooks, ctx, { method: this.name, params })
    } catch (thrown) {
      throw refusal(thrown)
    }
    if (ready === undefined) return this.#handle(params, ctx)
    return ready.then(
      () => isCancelled() ? undefined : this.#handle(params, ctx),
      (thrown) => { throw refusal(thrown) }
    )
  }

  /** Done at start for what is registered by then, so that a bad schema is found early; else on first use. */
  compile (): void {
    if (this.#compiled) return
    const { schema } = this.options
    const compiler = this.scope.compileSchema
    if (schema !== undefined && compiler !== undefined) {
      if (schema.params !== undefined) this.#checkParams = compiler(schema.params)
      if (schema.result !== undefined) this.#checkResult = compiler(schema.result)
    }
    this.#compiled = true
  }

  #handle (params: unknown, ctx: RpcContext): unknown {
    if (!this.#compiled) this.compile()
    const errors = this.#checkParams?.(params)
    if (errors) {
      throw new RpcError(RpcCode.INVALID_PARAMS, `invalid params for method "${this.name}"`, { code: 'INVALID_PARAMS', errors })
    }
    const result = this.handler(params, ctx)
    if (this.#checkResult === undefined) return result
    return isThenable(result) ? result.then((settled) => this.#checked(settled, ctx)) : this.#checked(result, ctx)
  }

  #checked (result: unknown, ctx: RpcContext): unknown {
    const errors = this.#checkResult!(result)
    if (errors === null) return result
    ctx.log.error({ method: this.name, errors }, 'the result does not match the schema of its method')
    throw new RpcError(RpcCode.INTERNAL, `the result of method "${this.name}" does not match its schema`, { code: 'INTERNAL' })
  }
}

/** A method whose handler is in a worker script; its schemas are checked there. */
export class WorkerMethod {
  constructor (readonly name: string, readonly timeoutMs: number, readonly executor: Executor, readonly scope: Scope) {}
}

/** What a hook threw, with the code of a refusal unless it has its own. */
export function refusal (thrown: unknown): unknown {
  if (Number.isInteger(memberOf(thrown, 'code'))) return thrown
  return new RpcError(RpcCode.FORBIDDEN, messageOf(thrown), { code: 'FORBIDDEN' })
}

/** Anything thrown, as the caller may see it: message, numeric code and data, never the stack. */
export function toRpcError (thrown: unknown): RpcError {
  if (thrown instanceof RpcError) return thrown
  const code = memberOf(thrown, 'code')
  return new RpcError(Number.isInteger(code) ? code as number : RpcCode.APPLICATION, messageOf(thrown), memberOf(thrown, 'data'))
}
