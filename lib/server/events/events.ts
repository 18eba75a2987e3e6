import type { ClientEvent, ServerEvent } from '../../protocol/messages.js'
import { type Verdict, inTime } from '../../contract/check.js'
import { invalidValue } from '../../contract/issues.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { Bus, BusHandlers } from '../bus/bus.js'
import type { ConnectionContext } from '../context/connection-context.js'
import { Budget } from '../connection/budget.js'
import type { Connection } from '../connection/connection.js'
import type { FrameHandler } from '../connection/frame-handler.js'
import { checkHandler, invalidArgument, isA, isThenable } from '../../protocol/errors.js'
import { type Hooks, REFUSED, type Scope, runHooks, sharedHooks } from '../scope/scope.js'
import { HEADER_SIZE } from '../../protocol/frame.js'
import { copyJson } from '../../protocol/json.js'
import { Opcode } from '../../protocol/opcodes.js'
import { type Unsubscribe, unsubscriber } from '../../protocol/unsubscribe.js'
import { LazyMembers } from '../connection/lazy-members.js'
import type { Part } from '../lifecycle/part.js'
import { until } from '../lifecycle/until.js'
import type { Logger } from '../context/logger.js'
import { BadFrame, parsePayload, requireString } from '../connection/payload.js'
import { topMember } from '../connection/top-member.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Settings } from '../config/settings.js'
import { refusalOf } from '../errors/thrown.js'

/** `connection` is the client that sent the event; undefined for an event of server code. */
export type EventHandler<T = unknown> = (message: { event: string, data: T, timestamp: number }, connection?: ConnectionContext) => void | Promise<void>

/** The event handlers of worker scripts. */
export interface WorkerEvents {
  /**
   * Handles an event of a client.
   * @param unread the payload, if its data has not been parsed
   * @param traceparent of the client's span, if it sent one
   */
  receive (connection: Connection, correlationId: number, message: ServerEvent, unread: LazyMembers | undefined, traceparent: unknown): void
  /** Handles an event of server code. */
  deliver (message: ServerEvent, traceparent: string | undefined): void
}

/** Most names of unhandled events that are logged. */
const MAX_UNKNOWN = 1000

interface Registered { handler: EventHandler | WorkerEvents, scope: Scope }

/** A client's event, with its unparsed payload if only workers handle it. */
type Received = ServerEvent & { unread?: LazyMembers }

/** The handlers of events. A client's event is handled on its node, an event of server code on every node. */
export class Events implements Part {
  readonly #handlers = new Map<string, Registered[]>()
  #hasWorkers = false
  /** Names without a handler that have been logged. */
  readonly #unknown = new Set<string>()
  /** Asynchronous handlers in progress on this thread, and events that wait for a hook. */
  running = 0

  constructor (
    readonly settings: Settings,
    readonly busOf: (scope: Scope) => Bus,
    readonly contract: ContractChecks,
    readonly metrics: Metrics,
    readonly log: Logger
  ) {}

  on (event: string, handler: EventHandler, scope: Scope): Unsubscribe {
    if (typeof event !== 'string') throw invalidArgument('events.on: the event must be a string')
    checkHandler(`events.on("${event}")`, handler)
    const registered = { handler, scope }
    this.#add(event, registered)
    return unsubscriber(() => { this.#remove(event, this.#handlers.get(event)?.indexOf(registered) ?? -1) })
  }

  /** Adds the handlers of a worker script for an event. */
  addWorkers (event: string, workers: WorkerEvents, scope: Scope): void {
    this.#hasWorkers = true
    // first, so that workers get the data before a handler of this thread can change it
    this.#handlers.set(event, [{ handler: workers, scope }, ...this.#handlers.get(event) ?? []])
  }

  #add (event: string, registered: Registered): void {
    this.#handlers.set(event, [...this.#handlers.get(event) ?? [], registered])
  }

  off (event: string, handler: EventHandler): void {
    this.#remove(event, this.#handlers.get(event)?.findLastIndex((registered) => registered.handler === handler) ?? -1)
  }

  #remove (event: string, i: number): void {
    if (i < 0) return
    const handlers = this.#handlers.get(event)
    if (handlers!.length === 1) this.#handlers.delete(event)
    else this.#handlers.set(event, handlers!.toSpliced(i, 1))
  }

  /**
   * @param scope the scope whose backend carries the event to the other nodes
   * @throws TypeError `INVALID_JSON` with the path, `INVALID_VALUE` by the contract; RangeError `TOO_DEEP`
   */
  emit (event: string, data: unknown, scope: Scope): void {
    if (typeof event !== 'string') throw invalidArgument('events.emit: the event must be a string')
    // handlers on this node get the same copy as those on other nodes
    const checked = this.contract.emitted(event, data)
    const message = { event, data: checked === undefined ? undefined : copyJson(checked, this.settings.maxJsonDepth), timestamp: Date.now() }
    const bus = this.busOf(scope)
    const traceparent = this.metrics.tracer?.traceparent()
    bus.publish('event', traceparent === undefined ? message : { ...message, traceparent })
    this.#deliver(message, bus)
  }

  readonly messages: Partial<BusHandlers> = {
    event: (message, bus) => { this.#deliver(message, bus, message.traceparent) }
  }

  /** Delivers an event of server code of any node to the handlers whose scope has the same backend. */
  #deliver ({ event, data, timestamp }: ServerEvent, bus: Bus, traceparent?: string): void {
    const message = { event, data, timestamp } // an absent `data` is undefined, as in an event of this node
    for (const { handler, scope } of this.#handlers.get(message.event) ?? []) {
      if (this.busOf(scope) !== bus) continue
      if (typeof handler === 'function') this.#run(handler, message, undefined, traceparent)
      else handler.deliver(message, traceparent)
    }
  }

  async drain (deadline: number): Promise<void> {
    await until(deadline, () => this.running === 0)
  }

  readonly frames: { readonly [Opcode.EVENT_C2S]: FrameHandler<ClientEvent> } = {
    [Opcode.EVENT_C2S]: {
      charge: {
        scopeOf: ({ event }) => this.#handlers.get(event)?.[0]?.scope,
        limitOf: (limits, { event }) => limits.limitOf(event),
        knownAs: ({ event }) => this.#handlers.has(event) ? event : undefined
      },
      read: (frame) => this.#read(frame),
      // a name that is too long is not sent back
      about: ({ event }) => ({ event: this.#isTooLong(event) ? undefined : event }),
      handle: (connection, correlationId, message, size) => { this.#receive(connection, correlationId, message, size) }
    }
  }

  #read (frame: Buffer): ClientEvent {
    const message = this.#hasWorkers ? this.#unread(frame) : undefined
    const { event, data, traceparent } = message ?? parsePayload(frame, this.settings.maxJsonDepth)
    const name = requireString(event, 'event')
    this.metrics.eventsIn++
    return this.metrics.tracer === undefined ? { event: name, data } : { event: name, data, traceparent }
  }

  /** An event that only workers handle. Its data is parsed on first use. */
  #unread (frame: Buffer): ClientEvent | undefined {
    const payload = frame.subarray(HEADER_SIZE)
    const event = topMember(payload, 'event')
    if (event === undefined) return undefined
    const isForWorkers = this.#handlers.get(event)?.every(({ handler }) => typeof handler !== 'function') ?? false
    return isForWorkers && this.contract.toServer(event) === undefined ? { event, data: new LazyMembers(payload, this.settings.maxJsonDepth), traceparent: this.metrics.tracer && topMember(payload, 'traceparent') } : undefined
  }

  #isTooLong (event: string): boolean {
    return event.length > this.settings.maxEventNameLength
  }

  /** @throws Refusal */
  #receive (connection: Connection, correlationId: number, { event, data, traceparent }: ClientEvent, size: number): void {
    if (this.#isTooLong(event)) {
      this.metrics.eventsDropped++
      return
    }
    const handlers = this.#handlers.get(event)
    if (handlers === undefined) return this.#unhandled(connection, event)
    const timestamp = Date.now()
    const message = data instanceof LazyMembers
      ? { event, get data () { return data.get('data') }, timestamp, unread: data }
      : { event, data, timestamp }
    if (connection.work.events !== undefined) return this.#enqueue(connection, size, connection.work.events, () => this.#check(connection, correlationId, handlers, message, traceparent))
    const waiting = this.#check(connection, correlationId, handlers, message, traceparent)
    if (waiting !== undefined) this.#enqueue(connection, size, waiting)
  }

  /** Counts an unhandled event, and logs each name once. A client may have misspelt the name, or made it up. */
  #unhandled (connection: Connection, event: string): void {
    this.metrics.eventsUnhandled++
    if (this.#unknown.size >= MAX_UNKNOWN || this.#unknown.has(event)) return
    this.#unknown.add(event)
    this.log.debug({ event, connectionId: connection.id }, 'a client sent an event that has no handler; more events of this name are only counted (eventsUnhandled)')
  }

  /**
   * Queues an event, so that events stay in order while one waits for a hook.
   * @throws Refusal
   */
  #enqueue (connection: Connection, size: number, waiting: Promise<void>, next?: () => Promise<void> | undefined): void {
    const budget = connection.work.eventBudget ??= new Budget(this.settings.maxCallsInFlight, this.settings.maxInflatedSize)
    budget.enter(size, 'too many events wait for a hook', 100)
    this.running++
    connection.work.events = waiting.then(next).then(() => {
      this.running--
      budget.leave(size)
      if (budget.isEmpty) connection.work.events = undefined
    })
  }

  /** Runs hooks and handlers if the contract accepts the data. */
  #check (connection: Connection, correlationId: number, handlers: Registered[], message: Received, traceparent: unknown): Promise<void> | undefined {
    const { event } = message
    const check = this.contract.toServer(event)
    if (check === undefined) return this.#guard(connection, correlationId, handlers, message, traceparent)
    const decide = (verdict: Verdict): Promise<void> | undefined => {
      if (verdict?.issues !== undefined) {
        connection.sendError(correlationId, 'INVALID_VALUE', invalidValue(`event "${event}"`, verdict.issues).message, { event, issues: verdict.issues })
        return undefined
      }
      return this.#guard(connection, correlationId, handlers, verdict === undefined ? message : { ...message, data: verdict.value }, traceparent)
    }
    const failed = (error: unknown): undefined => {
      this.log.error({ err: error, event, connectionId: connection.id }, 'the schema of an event failed')
      connection.sendError(correlationId, 'INTERNAL', 'the event could not be checked', { event })
    }
    let verdict
    try {
      verdict = check(message.data)
    } catch (error) {
      return failed(error)
    }
    if (!isThenable(verdict)) return decide(verdict)
    return inTime(verdict, `the schema of event "${event}"`).then(decide, failed)
  }

  /** Runs the handlers whose hooks allow the event. Returns a promise, which never rejects, if a hook is async. */
  #guard (connection: Connection, correlationId: number, handlers: Registered[], message: Received, traceparent: unknown): Promise<void> | undefined {
    const scopes = new Map<Scope, Array<Registered['handler']>>()
    for (const { scope, handler } of handlers) {
      const own = scopes.get(scope)
      if (own === undefined) scopes.set(scope, [handler])
      else own.push(handler)
    }
    const shared = scopes.size > 1 ? sharedHooks<Parameters<Hooks['preEvent']>>() : undefined
    const waiting = []
    for (const [scope, own] of scopes) {
      const run = (): void => {
        for (const handler of own) {
          if (typeof handler === 'function') this.#run(handler, message, connection.context, traceparent)
          else handler.receive(connection, correlationId, message, message.unread, traceparent)
        }
      }
      const refuse = (thrown: unknown): void => {
        if (thrown === REFUSED) return
        if (isA(thrown, BadFrame)) connection.refuseFrame(correlationId, thrown.message) // a hook read a payload that is not JSON
        else {
          const { code, message: why, more } = refusalOf(this, thrown, { source: 'preEvent', event: message.event, connection: connection.context })
          connection.sendError(correlationId, code, why, { ...more, event: message.event })
        }
      }
      try {
        const chain = scope.chain('preEvent')
        const allowed = runHooks(shared?.(chain) ?? chain, connection.messageContext, message)
        if (allowed === undefined) run()
        else waiting.push(allowed.then(run, refuse))
      } catch (thrown) {
        refuse(thrown)
      }
    }
    return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {})
  }

  #run (handler: EventHandler, message: ServerEvent, connection?: ConnectionContext, traceparent?: unknown): void {
    const began = this.metrics.begin()
    const failed = (error: unknown): void => {
      this.metrics.end('event', message.event, began)
      this.log.error({ err: error, event: message.event, connectionId: connection?.connectionId }, 'an event handler failed')
    }
    try {
      const { tracer } = this.metrics
      const given = message as Parameters<EventHandler>[0]
      const result = tracer === undefined ? handler(given, connection) : tracer.run('event', message.event, () => handler(given, connection), tracer.from(traceparent))
      if (!isThenable(result)) return this.metrics.end('event', message.event, began)
      result.then(() => { this.running--; this.metrics.end('event', message.event, began) }, (error: unknown) => { this.running--; failed(error) })
      this.running++
    } catch (error) {
      failed(error)
    }
  }
}
