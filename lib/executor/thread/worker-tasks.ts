import type { MethodSchemas } from '../../contract/define-contract.js'
import { RpcCode } from '../../protocol/codes.js'
import { DatasoleError, RpcError, checkHandler, invalidArgument, isThenable, memberOf } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'
import { Opcode } from '../../protocol/opcodes.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import { encodeMessage } from '../../server/connection/encoding.js'
import type { EventHandler } from '../../server/events/events.js'
import type { Logger } from '../../server/context/logger.js'
import { Scope, type SchemaCompiler } from '../../server/scope/scope.js'
import { BadFrame, parseMembers, requireString, textOf } from '../../server/connection/payload.js'
import { type Method, type RpcHandler, type RpcOptions, UNANSWERED, methodOf, resultJson } from '../../server/rpc/method.js'
import { RpcContext, abortContext } from '../../server/context/rpc-context.js'
import type { WorkerLimits } from '../executor.js'
import { FromWorker, SMALL, type ToWorker, copyError } from '../thread-messages.js'
import type { WorkerConnection } from './worker-connection.js'
import type { MainLink } from './main-link.js'

type TaskMessage = Extract<ToWorker, [2, ...unknown[]]>

/** A call with a running handler. */
interface Running { ctx: RpcContext, isAborted: boolean, isLocal: boolean }

/** The methods and handlers of a worker script, and the running calls. */
export class WorkerTasks {
  readonly methods = new Map<string, Method>()
  readonly handlers = new Map<string, { handler: EventHandler }[]>()
  readonly #running = new Map<number, Running>()
  readonly #limits: WorkerLimits
  readonly #link: MainLink
  readonly #scope: Scope
  readonly #schemasOf: (name: string) => MethodSchemas | undefined
  #isSealed = false

  /** @param schemasOf the contract's schemas of a method */
  constructor (limits: WorkerLimits, link: MainLink, compileSchema: SchemaCompiler | undefined, schemasOf: (name: string) => MethodSchemas | undefined) {
    this.#schemasOf = schemasOf
    this.#limits = limits
    this.#link = link
    this.#scope = new Scope(undefined, compileSchema)
  }

  get log (): Logger { return this.#link.logger({}) }

  register (name: string, options: RpcOptions, handler: RpcHandler): void {
    this.#checkOpen(`rpc.register("${name}")`)
    const method = methodOf(name, options, handler, this.#limits.rpcTimeoutMs, this.#scope, this.#schemasOf(name))
    if (this.methods.has(name)) throw new DatasoleError('DUPLICATE_METHOD', `rpc.register("${name}"): the method is already registered`)
    this.methods.set(name, method)
  }

  on (event: string, handler: EventHandler): Unsubscribe {
    if (typeof event !== 'string') throw invalidArgument('events.on: the event must be a string')
    checkHandler(`events.on("${event}")`, handler)
    if (!this.handlers.has(event)) this.#checkOpen(`events.on("${event}")`)
    const registered = { handler }
    this.handlers.set(event, [...this.handlers.get(event) ?? [], registered])
    return unsubscriber(() => { this.#remove(event, this.handlers.get(event)!.indexOf(registered)) })
  }

  off (event: string, handler: EventHandler): void {
    this.#remove(event, this.handlers.get(event)?.findLastIndex((registered) => registered.handler === handler) ?? -1)
  }

  /** Removes a handler. The event's name stays, because the main thread has already got it. */
  #remove (event: string, i: number): void {
    if (i >= 0) this.handlers.set(event, this.handlers.get(event)!.toSpliced(i, 1))
  }

  /** Ends registration, because the script has loaded and the main thread gets the names. */
  seal (): void {
    for (const method of this.methods.values()) method.compile()
    this.#isSealed = true
  }

  /** Runs a task. Never throws. */
  run ([, id, isCall, isLocal, , correlationId, payload]: TaskMessage, connection: WorkerConnection | undefined): void {
    try {
      const message = parseMembers(this.#text(payload))
      if (!isCall) return this.#handle(id, message, connection)
      if (!isLocal && message.correlationId !== correlationId) throw new BadFrame('the correlationId of header and payload differ')
      this.#call(id, isLocal, correlationId, requireString(message.method, 'method'), message.params, connection!)
    } catch (error) {
      if (!(error instanceof BadFrame)) throw error
      this.#link.outbox.push([FromWorker.MALFORMED, id, error.message])
    }
  }

  abort (id: number, reason: RpcError): void {
    const call = this.#running.get(id)
    if (call === undefined) return
    // do not mark calls of server code as aborted: they end when their handler ends
    call.isAborted = !call.isLocal
    abortContext(call.ctx, reason)
  }

  #text (payload: string | Uint8Array): string {
    const { maxJsonDepth } = this.#limits
    // a text this short cannot exceed the nesting depth
    if (typeof payload === 'string') return payload.length <= maxJsonDepth ? payload : textOf(Buffer.from(payload), maxJsonDepth)
    return textOf(Buffer.from(payload.buffer), maxJsonDepth)
  }

  #handle (id: number, { event, data, timestamp }: Record<string, unknown>, connection: WorkerConnection | undefined): void {
    const name = requireString(event, 'event')
    const message = { event: name, data, timestamp: connection === undefined ? timestamp as number : Date.now() }
    for (const { handler } of this.handlers.get(name) ?? []) {
      const failed = (error: unknown): void => { this.log.error({ err: error, event: name, connectionId: connection?.connectionId }, 'an event handler failed') }
      try {
        const result = handler(message, connection)
        if (isThenable(result)) this.#pending(id, result, failed)
      } catch (error) {
        failed(error)
      }
    }
    this.#link.outbox.push([FromWorker.ENDED, id])
  }

  /** Counts a promise of an event handler as pending. A second ENDED reports when it has settled. */
  #pending (id: number, result: PromiseLike<unknown>, failed: (error: unknown) => void): void {
    const { totals, outbox } = this.#link
    totals[3]++
    const settled = (): void => {
      totals[3]--
      outbox.push([FromWorker.ENDED, id])
    }
    Promise.resolve(result).catch(failed).finally(settled)
  }

  #call (id: number, isLocal: boolean, correlationId: number, name: string, params: unknown, connection: WorkerConnection): void {
    const link = this.#link
    const ctx = new RpcContext(connection, { get log () { return link.logger({ connectionId: connection.connectionId }) } })
    const succeed = (result: unknown): void => { this.#answer(id, isLocal, correlationId, name, result) }
    const fail = (thrown: unknown): void => { this.#threw(id, name, thrown) }
    const method = this.methods.get(name)
    if (method === undefined) return fail(new RpcError(RpcCode.METHOD_NOT_FOUND, `unknown method "${name.slice(0, 100)}"`, { code: 'METHOD_NOT_FOUND' }))
    try {
      const outcome = method.invoke(params, ctx, UNANSWERED)
      if (!isThenable(outcome)) return succeed(outcome)
      const running: Running = { ctx, isAborted: false, isLocal }
      this.#running.set(id, running)
      outcome.then(
        (result) => {
          if (this.#running.delete(id) && running.isAborted) this.#link.outbox.push([FromWorker.ENDED, id])
          else if (!running.isAborted) succeed(result)
        },
        (thrown: unknown) => { if (this.#running.delete(id)) fail(thrown) }
      )
    } catch (thrown) {
      fail(thrown)
    }
  }

  #answer (id: number, isLocal: boolean, correlationId: number, name: string, result: unknown): void {
    let json: string
    try {
      json = resultJson(name, result, this.#limits.maxJsonDepth)
    } catch (error) {
      return this.#threw(id, name, error)
    }
    if (isLocal) return this.#link.outbox.push([FromWorker.ANSWER, id, json])
    const text = `{"correlationId":${correlationId},"result":${json}}`
    const message = encodeMessage(Opcode.RPC_RES, correlationId, text, this.#limits.compressionThreshold)
    if (message.length <= SMALL) return this.#link.outbox.push([FromWorker.ANSWER, id, message.toString('latin1')])
    // transfer a buffer that owns its memory; copy one from Node's pool first
    const bytes = message.byteLength === message.buffer.byteLength ? message : new Uint8Array(message)
    this.#link.outbox.push([FromWorker.ANSWER, id, bytes], bytes.buffer as ArrayBuffer)
  }

  /** Sends the error to the main thread, which decides what the caller gets. */
  #threw (id: number, method: string, thrown: unknown): void {
    const copy = copyError(thrown)
    const data = memberOf(thrown, 'data')
    try {
      if (data !== undefined) copy.data = copyJson(data, this.#limits.maxJsonDepth)
    } catch (error) {
      this.log.error({ err: error, method }, 'the data of an error was left out: it cannot be written as JSON')
    }
    this.#link.outbox.push([FromWorker.THROWN, id, copy])
  }

  #checkOpen (what: string): void {
    if (this.#isSealed) throw new DatasoleError('TOO_LATE', `${what}: register before the default export of the worker script returns or resolves`)
  }
}
