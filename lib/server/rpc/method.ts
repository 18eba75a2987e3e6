import { type Check, type Compile, type SyncCheck, type Verdict, checkOf, inTime, syncCheckOf } from '../../contract/check.js'
import type { MethodSchemas } from '../../contract/define-contract.js'
import { invalidValue } from '../../contract/issues.js'
import { type Schema, isSchema } from '../../contract/schema.js'
import type { Executor } from '../../executor/executor.js'
import { RpcCode } from '../../protocol/codes.js'
import { DatasoleError, RpcError, coded, isThenable, messageOf } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import { TIMER, isObject } from '../config/checks.js'
import { type Scope, runHooks } from '../scope/scope.js'
import { HookThrew } from '../errors/thrown.js'
import { type RpcContext, declareErrors } from '../context/rpc-context.js'

/** The handler of a method. It returns the result, as JSON, or a promise of it, or throws. */
export type RpcHandler<P = unknown, R = unknown, Errors = Record<string, unknown>> = (params: P, ctx: RpcContext<Errors>) => R | Promise<R>

/** Options of `rpc.register`. */
export interface RpcOptions {
  /**
   * Schemas of parameters and result: JSON Schema, TypeBox, or a Standard Schema (zod, valibot, arktype).
   * Nothing is coerced; a mismatch is -32602 or -32603. A method of the contract has its schemas there, not here.
   */
  schema?: { params?: Schema, result?: Schema }
  /** ms; default the server's `rpcTimeoutMs`, 0 for no limit. */
  timeoutMs?: number
}

/**
 * Creates a method from the arguments of `rpc.register`, on the main thread and in workers.
 * @param rpcTimeoutMs ms, if the options have no `timeoutMs`
 * @param schemas the method's schemas in the contract, if it has the method
 * @throws DatasoleError `INVALID_METHOD`, `INVALID_OPTION`
 */
export function methodOf (name: string, options: RpcOptions, handler: RpcHandler, rpcTimeoutMs: number, scope: Scope, schemas?: MethodSchemas): Method {
  if (typeof name !== 'string' || name === '') throw new DatasoleError('INVALID_METHOD', 'rpc.register: the method name must be a string that is not empty')
  if (typeof handler !== 'function') throw new DatasoleError('INVALID_METHOD', `rpc.register("${name}"): the handler must be a function`)
  const refuse = (what: string): never => { throw new DatasoleError('INVALID_OPTION', `rpc.register("${name}"): ${what}`) }
  if (!isObject(options)) refuse('the options must be an object')
  for (const option of Object.keys(options)) if (option !== 'schema' && option !== 'timeoutMs') refuse(`option ${option} is not an option of a method`)
  const { schema = {}, timeoutMs = rpcTimeoutMs } = options
  if (!isObject(schema)) refuse('option schema must be { params, result }')
  for (const [section, value] of Object.entries(schema)) {
    if (section !== 'params' && section !== 'result') refuse(`option schema.${section} is unknown: use params or result`)
    if (value !== undefined && !isSchema(value)) refuse(`option schema.${section} must be a schema`)
  }
  if (options.schema !== undefined && schemas !== undefined) refuse('option schema: the contract already has the schemas of this method')
  if (!Number.isInteger(timeoutMs) || timeoutMs < 0 || timeoutMs > TIMER) refuse('option timeoutMs must be a whole number of ms from 0')
  return new Method(name, timeoutMs, schemas ?? schema, schemas === undefined ? `rpc.register("${name}"): option schema` : `contract: rpc.${name}`, handler, scope)
}

/** Whether a call has its answer already, so that its handler need not begin. */
export interface Answered { readonly isAnswered: boolean }

/** For calls that only their handler ends. */
export const UNANSWERED: Answered = { isAnswered: false }

/** A registered method: hooks, then validation, then the handler. */
export class Method {
  #checkParams: Check | undefined
  #checkResult: Check | undefined
  #errors: Map<string, SyncCheck | undefined> | undefined
  #compiled = false

  constructor (
    readonly name: string,
    readonly timeoutMs: number,
    readonly schemas: MethodSchemas,
    /** Prefix of the schemas' names in errors. */
    readonly whose: string,
    readonly handler: RpcHandler,
    readonly scope: Scope
  ) {}

  /**
   * Returns, throws, resolves or rejects as the handler does. Creates no promise if nothing is asynchronous.
   * @throws HookThrew with the error of a hook
   */
  invoke (params: unknown, ctx: RpcContext, call: Answered): unknown {
    const hooks = this.scope.chain('preRpc')
    if (hooks.length === 0) return this.#handle(params, ctx, call)
    let ready
    try {
      ready = runHooks(hooks, ctx, { method: this.name, params })
    } catch (thrown) {
      throw new HookThrew(thrown)
    }
    if (ready === undefined) return this.#handle(params, ctx, call)
    return ready.then(
      () => call.isAnswered ? undefined : this.#handle(params, ctx, call),
      (thrown) => { throw new HookThrew(thrown) }
    )
  }

  /**
   * Compiles the schemas, at start or at a later registration, so that a bad schema is found early. A call by server
   * code before the start compiles them on first use.
   * @throws DatasoleError `INVALID_OPTION`
   */
  compile (): void {
    if (this.#compiled) return
    const { params, result, errors } = this.schemas
    const where = (place: string): string => `${this.whose}.${place}`
    const compile: Compile = (place, schema) => this.scope.compile(place, schema)
    if (params !== undefined) this.#checkParams = checkOf(params, where('params'), compile)
    if (result !== undefined) this.#checkResult = checkOf(result, where('result'), compile)
    if (errors !== undefined) this.#errors = new Map(Object.entries(errors).map(([code, schema]) => [code, syncCheckOf(schema, where(`errors.${code}`), compile)]))
    this.#compiled = true
  }

  #handle (params: unknown, ctx: RpcContext, call: Answered): unknown {
    this.compile()
    const verdict = this.#checkParams?.(params)
    if (verdict === undefined) return this.#run(params, ctx)
    if (!isThenable(verdict)) return this.#run(this.#acceptedParams(params, verdict), ctx)
    return inTime(verdict, `${this.whose}.params`).then((settled) => call.isAnswered ? undefined : this.#run(this.#acceptedParams(params, settled), ctx))
  }

  #run (params: unknown, ctx: RpcContext): unknown {
    if (this.#errors !== undefined) declareErrors(ctx, this.#checkError)
    const result = this.handler(params, ctx)
    if (this.#checkResult === undefined) return result
    return isThenable(result) ? result.then((settled) => this.#checked(settled)) : this.#checked(result)
  }

  #checked (result: unknown): unknown {
    const verdict = this.#checkResult!(result)
    if (!isThenable(verdict)) return this.#acceptedResult(result, verdict)
    return inTime(verdict, `${this.whose}.result`).then((settled) => this.#acceptedResult(result, settled))
  }

  readonly #checkError = (code: string, details: unknown): unknown => {
    if (this.#errors?.has(code) !== true) throw coded(new TypeError(`ctx.error: the contract has no error "${code}" of method "${this.name}"`), 'INVALID_VALUE')
    const verdict = this.#errors.get(code)?.(details)
    if (verdict?.issues !== undefined) throw invalidValue(`the details of error "${code}"`, verdict.issues)
    return verdict === undefined ? details : verdict.value
  }

  #acceptedParams (params: unknown, verdict: Verdict): unknown {
    if (verdict === undefined) return params
    if (verdict.issues === undefined) return verdict.value
    const { issues, errors } = verdict
    throw new RpcError(RpcCode.INVALID_PARAMS, `invalid params for method "${this.name}"`, { code: 'INVALID_PARAMS', issues, errors })
  }

  #acceptedResult (result: unknown, verdict: Verdict): unknown {
    if (verdict === undefined) return result
    if (verdict.issues === undefined) return verdict.value
    const details = process.env.NODE_ENV === 'production' ? '' : `: ${JSON.stringify(verdict.issues)}`
    throw new DatasoleError('INVALID_RESULT', `the result of method "${this.name}" does not match its schema${details}`)
  }
}

/**
 * A method's result as JSON text. Undefined becomes null.
 * @throws DatasoleError `INVALID_RESULT`, with the path, for a value that JSON cannot hold
 */
export function resultJson (name: string, result: unknown, maxDepth: number): string {
  if (result === undefined) return 'null'
  try {
    return stringify(result, maxDepth)!
  } catch (cause) {
    throw new DatasoleError('INVALID_RESULT', `the result of method "${name}" cannot be sent: ${messageOf(cause)}`, { cause })
  }
}

/** A method whose handler is in a worker script. The worker checks its schemas. */
export class WorkerMethod {
  constructor (readonly name: string, readonly timeoutMs: number, readonly executor: Executor, readonly scope: Scope) {}
}
