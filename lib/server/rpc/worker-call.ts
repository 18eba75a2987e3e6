import { RpcCode } from '../../protocol/codes.js'
import { RpcError, isA } from '../../protocol/errors.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Job, Task } from '../../executor/executor.js'
import { type CallHost, errorAnswer, isAbort } from './call.js'
import { type CallInFlight, CallsInFlight } from '../connection/calls-in-flight.js'
import type { Logger } from '../context/logger.js'
import type { Connection } from '../connection/connection.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { OpenSpan } from '../metrics/tracer.js'
import { runHooks } from '../scope/scope.js'
import { topMember } from '../connection/top-member.js'
import { LazyMembers } from '../connection/lazy-members.js'
import { BadFrame } from '../connection/payload.js'
import type { WorkerMethod } from './method.js'
import { RpcContext } from '../context/rpc-context.js'
import { HookThrew, rpcErrorOf } from '../errors/thrown.js'

/**
 * A client's call of a method in a worker. Like `Call`, it is answered once, and counts as in flight until the handler
 * has ended.
 */
export class WorkerCall implements CallInFlight, Task {
  readonly kind = 'call'
  readonly isLocal = false
  readonly isPassing = false
  #job: Job | undefined
  #timer: NodeJS.Timeout | undefined
  #answered = false
  previous: CallInFlight | undefined
  next: CallInFlight | undefined
  readonly #began: number
  readonly #span: OpenSpan | undefined

  constructor (
    readonly host: CallHost,
    readonly connection: Connection,
    readonly correlationId: number,
    readonly method: WorkerMethod,
    readonly payload: Buffer,
    /** Bytes of the request's frame. */
    readonly size: number
  ) {
    this.#began = host.metrics.begin()
    const { tracer } = host.metrics
    this.#span = tracer?.open('rpc', method.name, tracer.from(topMember(payload, 'traceparent')))
  }

  get context (): ConnectionContext { return this.connection.context }
  get traceparent (): string | undefined { return this.#span?.traceparent }
  get log (): Logger { return this.connection.messageContext.log }
  get isAnswered (): boolean { return this.#answered }

  /** Runs the hooks on the main thread. They can read the parameters, which are then parsed. */
  run (maxDepth: number): void {
    const { connection, method } = this
    ;(connection.work.calls ??= new CallsInFlight()).add(this)
    const { timeoutMs } = method
    if (timeoutMs > 0) this.#timer = setTimeout(() => { this.#expired() }, timeoutMs)
    const hooks = method.scope.chain('preRpc')
    if (hooks.length === 0) return this.#start()
    const call = new LazyMembers(this.payload, maxDepth)
    const ctx = new RpcContext(connection.context, this)
    const failed = (thrown: unknown): void => {
      if (isA(thrown, BadFrame)) this.malformed(thrown.message) // a hook read a payload that is not JSON
      else this.threw(new HookThrew(thrown))
      this.ended()
    }
    try {
      const ready = runHooks(hooks, ctx, { method: method.name, get params () { return call.get('params') } })
      if (ready === undefined) return this.#start()
      ready.then(() => { if (this.#answered) this.ended(); else this.#start() }, failed)
    } catch (thrown) {
      failed(thrown)
    }
  }

  /** Answers with the reason and aborts the handler's signal. */
  abort (reason: RpcError): void {
    if (this.#answered) return
    this.#fail(reason)
    this.#job?.abort(reason)
  }

  withdraw (): boolean {
    if (this.#answered) return true
    if (this.#job === undefined || this.#job.hasBegun) return false
    this.#answered = true
    this.#span?.end()
    this.#job.abort(new RpcError(RpcCode.CANCELLED, 'the connection was closed', { code: 'CANCELLED' }))
    return true
  }

  answer (message: Buffer): void {
    if (this.#answered) return
    this.#settle()
    this.connection.send(message)
  }

  threw (thrown: unknown): void {
    if (this.#answered && isAbort(thrown)) return
    this.#fail(rpcErrorOf(this.host, thrown, this.method.name, this.context))
  }

  refuse (error: RpcError): void {
    this.#fail(error)
  }

  malformed (message: string): void {
    if (this.#answered) return
    if (this.connection.isOpen) this.connection.refuseFrame(this.correlationId, message)
    this.#fail(new RpcError(RpcCode.INVALID_REQUEST, message, { code: 'BAD_FRAME' }))
  }

  ended (): void {
    clearTimeout(this.#timer)
    if (this.connection.calls?.delete(this) !== true) return
    this.connection.work.callBudget!.leave(this.size)
  }

  #start (): void {
    this.#job = this.method.executor.run(this)
  }

  /** Answers with a timeout, and checks the thread, because a blocked one would not see the abort. */
  #expired (): void {
    const { name, timeoutMs } = this.method
    this.abort(new RpcError(RpcCode.TIMEOUT, `method "${name}" took longer than ${timeoutMs} ms`, { code: 'TIMEOUT' }))
    this.#job?.checkStuck()
  }

  #settle (failure?: RpcError): void {
    this.#answered = true
    this.#span?.end(failure)
    this.host.metrics.end('rpc', this.method.name, this.#began, failure !== undefined)
  }

  #fail (error: RpcError): void {
    if (this.#answered) return
    this.#settle(error)
    // the client has gone
    if (!this.connection.isOpen) return
    const json = errorAnswer(this.host, this.correlationId, error)
    this.connection.answer(Opcode.RPC_RES, this.correlationId, json)
  }
}
