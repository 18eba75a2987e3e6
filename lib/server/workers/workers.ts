import type { Part } from '../lifecycle/part.js'
import { until } from '../lifecycle/until.js'
import type { Executor, Task } from '../../executor/executor.js'
import type { ExecutorMetrics } from '../metrics/metrics.js'
import type { ServerEvent } from '../../protocol/messages.js'
import type { Connection } from '../connection/connection.js'
import type { Events, WorkerEvents } from '../events/events.js'
import type { Scope } from '../scope/scope.js'
import type { LazyMembers } from '../connection/lazy-members.js'
import type { Logger } from '../context/logger.js'
import { WorkerMethod } from '../rpc/method.js'
import type { RpcRegistry } from '../rpc/rpc.js'
import type { Settings } from '../config/settings.js'
import { type ServiceHost, workerServices } from './worker-services.js'

/** ms that an event's handlers may take before their thread is checked for a blocked event loop. */
const EVENT_TIMEOUT = 30_000

/** The handlers of a worker script: registers them, and passes events to them unparsed. */
export class Workers implements WorkerEvents, Part {
  readonly #executor: Executor
  readonly #rpc: RpcRegistry
  readonly #events: Events
  readonly #scope: Scope
  readonly #host: ServiceHost
  readonly #settings: Settings
  readonly #log: Logger

  /** @param scope the scope of the script's methods and events */
  constructor (executor: Executor, scope: Scope, host: ServiceHost, rpc: RpcRegistry, events: Events, settings: Settings, log: Logger) {
    this.#executor = executor
    this.#scope = scope
    this.#host = host
    this.#rpc = rpc
    this.#events = events
    this.#settings = settings
    this.#log = log
  }

  get metrics (): ExecutorMetrics { return this.#executor.metrics() }

  /** @throws as the script does; DatasoleError `DRIVER_MISSING`, `DUPLICATE_METHOD` */
  async start (): Promise<void> {
    const { methods, events } = await this.#executor.start(workerServices(this.#host), this.#log)
    for (const { name, timeoutMs } of methods) this.#rpc.add(new WorkerMethod(name, timeoutMs, this.#executor, this.#scope))
    for (const event of events) this.#events.addWorkers(event, this, this.#scope)
  }

  async drain (deadline: number): Promise<void> {
    await until(deadline, () => this.#executor.isIdle)
  }

  async stop (): Promise<void> {
    await this.#executor.close()
  }

  disconnected ({ context }: Connection): void {
    this.#executor.departed(context)
  }

  receive (connection: Connection, correlationId: number, message: ServerEvent, unread: LazyMembers | undefined, traceparent: unknown): void {
    const { event, data } = unread === undefined ? message : { event: message.event, data: undefined }
    this.#run(event, traceparent, {
      context: connection.context,
      // if the event waited for a hook, its connection may have closed, and the worker must not keep its copy
      isPassing: !connection.isOpen,
      correlationId,
      payload: unread?.payload ?? Buffer.from(JSON.stringify({ event, data })),
      refuse: ({ message: why, data: details }) => {
        const { code, retryAfter } = details as { code: string, retryAfter?: number }
        if (code === 'BUSY') connection.sendError(correlationId, 'BUSY', why, { retryAfter, event })
        else this.#log.warn({ event, connectionId: connection.id }, 'an event was lost with its worker thread')
      },
      malformed: (why) => { if (connection.isOpen) connection.refuseFrame(correlationId, why) }
    })
  }

  deliver (message: ServerEvent, traceparent: string | undefined): void {
    this.#run(message.event, traceparent, {
      context: undefined,
      isPassing: true,
      correlationId: 0,
      payload: Buffer.from(JSON.stringify(message)),
      refuse: ({ message: why }) => { this.#log.warn({ event: message.event }, `a worker thread could not handle an event: ${why}`) },
      malformed: () => {} // cannot happen: the payload was encoded here
    })
  }

  #run (event: string, traceparent: unknown, task: Pick<Task, 'context' | 'isPassing' | 'correlationId' | 'payload' | 'refuse' | 'malformed'>): void {
    const { tracer } = this.#host.metrics
    const span = tracer?.open('event', event, tracer.from(traceparent))
    const watch: { timer?: NodeJS.Timeout } = {}
    const job = this.#executor.run({
      ...task,
      kind: 'event',
      isLocal: false,
      traceparent: span?.traceparent,
      answer: () => {}, // an event has no answer
      threw: () => {}, // the thread has logged it
      ended: () => {
        clearTimeout(watch.timer)
        span?.end()
      }
    })
    if (job === undefined) return
    watch.timer = setTimeout(() => { job.checkStuck() }, this.#settings.rpcTimeoutMs || EVENT_TIMEOUT)
    watch.timer.unref()
  }
}
