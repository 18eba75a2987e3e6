import { onAbort } from '../../protocol/abort.js'
import { type ErrorCode, RpcCode } from '../../protocol/codes.js'
import { HEADER_SIZE } from '../../protocol/frame.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import { Call, type CallHost, type NeverBegun, errorAnswer } from './call.js'
import { type AuthResult, ConnectionContext } from '../context/connection-context.js'
import { Budget } from '../connection/budget.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { BadFrame, type Members, parsePayload, requireString } from '../connection/payload.js'
import { topMember } from '../connection/top-member.js'
import { DatasoleError, RpcError } from '../../protocol/errors.js'
import type { Hub } from '../connection/hub.js'
import type { Part } from '../lifecycle/part.js'
import { until } from '../lifecycle/until.js'
import type { Scope } from '../scope/scope.js'
import { copyJson } from '../../protocol/json.js'
import type { Logger } from '../context/logger.js'
import { callWorker } from './local-worker-call.js'
import { Method, type RpcHandler, type RpcOptions, UNANSWERED, WorkerMethod, methodOf, resultJson } from './method.js'
import type { Metrics } from '../metrics/metrics.js'
import { RpcContext, abortContext } from '../context/rpc-context.js'
import type { Settings } from '../config/settings.js'
import type { Refusal } from '../errors/refusal.js'
import { rpcErrorOf } from '../errors/thrown.js'
import { WorkerCall } from './worker-call.js'

/** `retryAfter` (ms) of a server that is closing, so that the client can reconnect first. */
const CLOSING = 1000

/** RPC codes for the codes of refused frames. Other refusals are `INVALID_REQUEST`. */
const CODES: Partial<Record<ErrorCode, number>> = { RATE_LIMITED: RpcCode.RATE_LIMITED, BUSY: RpcCode.BUSY, INTERNAL: RpcCode.INTERNAL }

/** The answer to a call beyond the connection's budget of calls in flight. */
const NO_PLACE: NeverBegun = { begun: false, again: true }

/** An RPC_REQ. For a method in a worker, `params` is the whole payload, unparsed. */
interface CallMessage { method: string, params: unknown, traceparent?: unknown }

/** The caller for whom server code calls a method, for example the user of an HTTP request. */
export interface LocalCallContext {
  /** The caller. Default: that of `connection`, else `{ authenticated: false }`. */
  auth?: AuthResult
  /** The connection on whose behalf the call is made, if there is one. */
  connection?: ConnectionContext
  /** Aborts the handler's `ctx.signal`. The call itself still ends when the handler does. */
  signal?: AbortSignal
}

/** The methods that clients can call, and the calls of all connections. */
export class RpcRegistry implements CallHost, Part {
  /** True if new calls are refused, because the server is closing. */
  isDraining = false
  /** True while a workerScript has not reported its methods yet. */
  lacksWorkers = false
  readonly #methods = new Map<string, Method | WorkerMethod>()
  #isCompiled = false
  #hasWorkers = false

  readonly #hub: Hub

  constructor (readonly settings: Settings, hub: Hub, readonly contract: ContractChecks, readonly metrics: Metrics, readonly log: Logger) {
    this.#hub = hub
  }

  /** Every registered method. */
  get methods (): Iterable<Method | WorkerMethod> { return this.#methods.values() }

  register (name: string, options: RpcOptions, handler: RpcHandler, scope: Scope): void {
    const method = methodOf(name, options, handler, this.settings.rpcTimeoutMs, scope, this.contract.method(name))
    if (this.#isCompiled) method.compile()
    this.add(method)
  }

  /** @throws DatasoleError `DUPLICATE_METHOD` */
  add (method: Method | WorkerMethod): void {
    const { name } = method
    if (this.#methods.has(name)) throw new DatasoleError('DUPLICATE_METHOD', `rpc.register("${name}"): the method is already registered`)
    this.#methods.set(name, method)
    if (method instanceof WorkerMethod) this.#hasWorkers = true
  }

  unregister (name: string): void {
    this.#methods.delete(name)
  }

  /** Compiles the registered schemas, so that a bad schema fails the start. Later, `register` compiles at once. */
  start (): void {
    for (const method of this.#methods.values()) if (method instanceof Method) method.compile()
    this.#isCompiled = true
  }

  /** Refuses new calls, and waits for the calls in flight. */
  async quiesce (deadline: number): Promise<void> {
    this.isDraining = true
    await until(deadline, () => Array.from(this.#hub).every(({ calls }) => calls === undefined || calls.size === 0))
  }

  readonly frames: { readonly [Opcode.RPC_REQ]: FrameHandler<CallMessage>, readonly [Opcode.RPC_CANCEL]: FrameHandler } = {
    [Opcode.RPC_REQ]: {
      charge: {
        scopeOf: ({ method }) => this.#methods.get(method)?.scope,
        limitOf: (limits, { method }) => limits.limitOf(method),
        knownAs: ({ method }) => this.#methods.has(method) ? method : undefined
      },
      read: (frame, correlationId) => this.#read(frame, correlationId),
      handle: (connection, correlationId, call, size) => { this.#receive(connection, correlationId, call, size) },
      refuse: (connection, correlationId, refusal, call) => { this.#refuse(connection, correlationId, refusal, call) }
    },
    [Opcode.RPC_CANCEL]: {
      read () {},
      handle: (connection, correlationId) => { this.#cancel(connection, correlationId) }
    }
  }

  #read (frame: Buffer, correlationId: number): CallMessage {
    const message = (this.#hasWorkers ? this.#unread(frame) : undefined) ?? this.#parse(frame, correlationId)
    this.metrics.rpcCalls++
    return message
  }

  #parse (frame: Buffer, correlationId: number): CallMessage {
    const message = parsePayload(frame, this.settings.maxJsonDepth)
    if (message.correlationId !== correlationId) throw new BadFrame('the correlationId of header and payload differ')
    requireString(message.method, 'method')
    return message as Members & CallMessage
  }

  /** A call of a method in a worker. The worker parses the payload. */
  #unread (frame: Buffer): CallMessage | undefined {
    const params = frame.subarray(HEADER_SIZE)
    const method = topMember(params, 'method')
    return method !== undefined && this.#methods.get(method) instanceof WorkerMethod ? { method, params } : undefined
  }

  /**
   * Starts a call: hooks, validation, handler. Every call is answered.
   * @throws Refusal
   */
  #receive (connection: Connection, correlationId: number, { method: name, params, traceparent }: CallMessage, size: number): void {
    if (this.isDraining || connection.work.isLeaving) return this.#refuseClosing(connection, correlationId)
    const method = this.#methods.get(name)
    if (method === undefined) return this.#answer(connection, correlationId, RpcCode.METHOD_NOT_FOUND, `unknown method "${name.slice(0, 100)}"`, { code: 'METHOD_NOT_FOUND' })
    const { maxCallsInFlight, maxInflatedSize, maxJsonDepth } = this.settings
    const budget = connection.work.callBudget ??= new Budget(maxCallsInFlight, maxInflatedSize)
    budget.enter(size, 'too many calls in flight', 100)
    if (method instanceof Method) new Call(this, connection, correlationId, method, size).run(params, traceparent)
    else new WorkerCall(this, connection, correlationId, method, params as Buffer, size).run(maxJsonDepth)
  }

  #refuse (connection: Connection, correlationId: number, { code, message, more }: Refusal, call: CallMessage | undefined): void {
    // a call refused as BUSY before it was parsed still counts as a call
    if (code === 'BUSY' && call === undefined) this.metrics.rpcCalls++
    if ((this.isDraining || connection.work.isLeaving) && (code === 'BUSY' || code === 'RATE_LIMITED')) return this.#refuseClosing(connection, correlationId)
    this.#answer(connection, correlationId, CODES[code] ?? RpcCode.INVALID_REQUEST, code === 'INTERNAL' ? 'the call could not be handled' : message, { code, ...more }, code === 'BUSY' && call !== undefined ? NO_PLACE : undefined)
  }

  #cancel (connection: Connection, correlationId: number): void {
    for (const call of connection.calls?.list() ?? []) {
      if (call.correlationId === correlationId) call.abort(new RpcError(RpcCode.CANCELLED, 'the client cancelled the call', { code: 'CANCELLED' }))
    }
  }

  disconnected (connection: Connection): void {
    for (const call of connection.calls?.list() ?? []) call.abort(new RpcError(RpcCode.CANCELLED, 'the client disconnected', { code: 'CANCELLED' }))
  }

  /**
   * Runs a method in this process, with hooks and schema, but without the limits on clients. Parameters and result are
   * JSON copies, as for a client.
   * @throws RpcError with `code` and `data`, as a client would get it; its `cause` is the original error
   * @throws TypeError `INVALID_JSON` for parameters that JSON cannot hold, with the path; RangeError `TOO_DEEP`
   */
  async call (name: string, params: unknown, context: LocalCallContext = {}): Promise<unknown> {
    const { maxJsonDepth } = this.settings
    const given = params === undefined ? undefined : copyJson(params, maxJsonDepth)
    const method = this.#methods.get(name)
    if (method === undefined) {
      const hint = this.lacksWorkers ? ': methods of the workerScript exist once the server has started, so call them in an onReady hook or later (DatasoleServer: after init())' : ''
      throw new RpcError(RpcCode.METHOD_NOT_FOUND, `unknown method "${name}"${hint}`, { code: 'METHOD_NOT_FOUND' })
    }
    const auth = context.auth ?? context.connection?.auth ?? { authenticated: false }
    const connection = context.connection ?? new ConnectionContext('local', auth, '', 2)
    const ctx = new RpcContext(connection, this, auth)
    const { signal } = context
    const cancelled = (): void => abortContext(ctx, new RpcError(RpcCode.CANCELLED, 'the caller cancelled the call', { code: 'CANCELLED' }))
    if (signal?.aborted) cancelled()
    const release = signal && onAbort(signal, cancelled)
    try {
      if (method instanceof Method) return JSON.parse(resultJson(name, await method.invoke(given, ctx, UNANSWERED), maxJsonDepth))
      return await callWorker(method, { params: given, ctx, context: auth === connection.auth ? connection : new ConnectionContext(connection.connectionId, auth, connection.remoteAddress, connection.protocol), traceparent: this.metrics.tracer?.traceparent() })
    } catch (thrown) {
      throw rpcErrorOf(this, thrown, name, connection)
    } finally {
      release?.()
    }
  }

  /** Refuses a call that never ran, so that the client may make it again, elsewhere or later. */
  #refuseClosing (connection: Connection, correlationId: number): void {
    this.#answer(connection, correlationId, RpcCode.BUSY, 'the server is closing and did not start the call', { code: 'BUSY', retryAfter: CLOSING }, { begun: false })
  }

  #answer (connection: Connection, correlationId: number, code: number, message: string, data: object, never?: NeverBegun): void {
    const json = errorAnswer(this, correlationId, new RpcError(code, message, data), never)
    connection.answer(Opcode.RPC_RES, correlationId, json)
  }
}
