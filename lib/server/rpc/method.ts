import type { Executor } from '../../executor/executor.js'
import { RpcCode } from '../../protocol/codes.js'
import { DatasoleError, RpcError, isThenable, messageOf } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import { TIMER, isObject } from '../config/checks.js'
import { type Scope, runHooks } from '../scope/scope.js'
import { HookThrew } from '../errors/thrown.js'
import type { RpcContext } from '../context/rpc-context.js'

export type RpcHandler<P = unknown, R = unknown> = (params: P, ctx: RpcContext) => R | Promise<R>

export interface RpcOptions {
  /** JSON Schemas of what the method takes and gives. Nothing is coerced; a mismatch is -32602 or -32603. */
  schema?: { params?: object, result?: object }
  /** ms; default the server's `rpcTimeoutMs`, 0 for no limit. */
  timeoutMs?: number
}

type Check = (data: unknown) => object[] | null

/**
 * What `rpc.register` makes of its arguments, here and in threads.
 * @param rpcTimeoutMs where the options have none
 * @throws DatasoleError `INVALID_METHOD`, `INVALID_OPTION`
 */
export function methodOf (name: string, options: RpcOptions, handler: RpcHandler, rpcTimeoutMs: number, scope: Scope): Method {
  if (typeof name !== 'string' || name === '') throw new DatasoleError('INVALID_METHOD', 'rpc.register: the method name must be a string that is not empty')
  if (typeof handler !== 'function') throw new DatasoleError('INVALID_METHOD', `rpc.register("${name}"): the handler must be a function`)
  const refuse = (what: string): never => { throw new DatasoleError('INVALID_OPTION', `rpc.register("${name}"): ${what}`) }
  if (!isObject(options)) refuse('the options must be an object')
  for (const option of Object.keys(options)) if (option !== 'schema' && option !== 'timeoutMs') refuse(`option ${option} is not an option of a method`)
  const { schema = {}, timeoutMs = rpcTimeoutMs } = options
  if (!isObject(schema)) refuse('option schema must be { params, result }')
  for (const [section, value] of Object.entries(schema)) {
    if (section !== 'params' && section !== 'result') refuse(`option schema.${section} is unknown: there are params and result`)
    if (value !== undefined && !isObject(value)) refuse(`option schema.${section} must be a JSON Schema`)
  }
  if (!Number.isInteger(timeoutMs) || timeoutMs < 0 || timeoutMs > TIMER) refuse('option timeoutMs must be a whole number of ms from 0')
  return new Method(name, timeoutMs, options, handler, scope)
}

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

  /**
   * Returns, throws, resolves or rejects as the handler does. Costs no promise where nothing is asynchronous.
   * @throws HookThrew with what a hook threw
   */
  invoke (params: unknown, ctx: RpcContext, isCancelled: () => boolean): unknown {
    const hooks = this.scope.chain('preRpc')
    if (hooks.length === 0) return this.#handle(params, ctx)
    let ready
    try {
      ready = runHooks(hooks, ctx, { method: this.name, params })
    } catch (thrown) {
      throw new HookThrew(thrown)
    }
    if (ready === undefined) return this.#handle(params, ctx)
    return ready.then(
      () => isCancelled() ? undefined : this.#handle(params, ctx),
      (thrown) => { throw new HookThrew(thrown) }
    )
  }

  /**
   * Done at start for what is registered by then, later on at once: a bad schema is found early. Only calls
   * of server code before the start find one that is not compiled yet.
   * @throws DatasoleError `INVALID_OPTION`
   */
  compile (): void {
    if (this.#compiled) return
    const { params, result } = this.options.schema ?? {}
    const compile = (section: string, schema: object): Check | undefined => this.scope.compile(`rpc.register("${this.name}"): option schema.${section}`, schema)
    if (params !== undefined) this.#checkParams = compile('params', params)
    if (result !== undefined) this.#checkResult = compile('result', result)
    this.#compiled = true
  }

  #handle (params: unknown, ctx: RpcContext): unknown {
    this.compile()
    const errors = this.#checkParams?.(params)
    if (errors) {
      throw new RpcError(RpcCode.INVALID_PARAMS, `invalid params for method "${this.name}"`, { code: 'INVALID_PARAMS', errors })
    }
    const result = this.handler(params, ctx)
    if (this.#checkResult === undefined) return result
    return isThenable(result) ? result.then((settled) => this.#checked(settled)) : this.#checked(result)
  }

  #checked (result: unknown): unknown {
    const errors = this.#checkResult!(result)
    if (errors === null) return result
    throw new DatasoleError('INVALID_RESULT', `the result of method "${this.name}" does not match its schema: ${JSON.stringify(errors)}`)
  }
}

/**
 * A method's result as JSON text; nothing is null.
 * @throws DatasoleError `INVALID_RESULT` for what JSON cannot hold, naming its path
 */
export function resultJson (name: string, result: unknown, maxDepth: number): string {
  if (result === undefined) return 'null'
  try {
    return stringify(result, maxDepth)!
  } catch (cause) {
    throw new DatasoleError('INVALID_RESULT', `the result of method "${name}" cannot be sent: ${messageOf(cause)}`, { cause })
  }
}

/** A method whose handler is in a worker script; its schemas are checked there. */
export class WorkerMethod {
  constructor (readonly name: string, readonly timeoutMs: number, readonly executor: Executor, readonly scope: Scope) {}
}
