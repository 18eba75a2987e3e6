import { methodSchemas } from '../../contract/worker-contract.js'
import { DatasoleError, RpcError, memberOf } from '../../protocol/errors.js'
import type { SchemaCompiler } from '../../server/scope/scope.js'
import { type BatchToWorker, FromWorker, ToWorker, type WorkerSetup, copyError, sharedNow } from '../thread-messages.js'
import { WorkerConnection } from './worker-connection.js'
import { WorkerDatasole } from './worker-datasole.js'
import { MainLink } from './main-link.js'
import { WorkerTasks } from './worker-tasks.js'

/** Duration in ms of a slice of work. Then answers are sent, and the event loop handles timers and cancellations. */
const SLICE = 1

/** A module that compiles schemas in threads. */
interface SchemaModule { workerCompiler (): SchemaCompiler }

type Task = Extract<ToWorker, [2, ...unknown[]]>

/** A queued task, with the copy of the connection that was sent with it. */
interface Waiting { task: Task, connection: WorkerConnection | undefined, sentAt: number }

/** The thread's only piscina task. */
export default async function work (setup: WorkerSetup): Promise<never> {
  const worker = new WorkerThread(setup)
  try {
    await worker.load()
  } catch (error) {
    worker.failed(error)
  }
  return await new Promise<never>(() => {}) // the main thread ends the thread
}

/** @throws DatasoleError `INVALID_OPTION` if the script does not exist or exports no function; an error of the script */
async function load (script: string): Promise<{ register: (ds: WorkerDatasole) => unknown, contract: unknown }> {
  const invalid = (why: string, cause?: unknown): DatasoleError => new DatasoleError('INVALID_OPTION', `datasole: option executor.workerScript: ${script} ${why}`, { cause })
  const module: unknown = await import(script).catch((error: unknown) => {
    // check the url: the script itself may be missing, or a module that it imports
    throw memberOf(error, 'code') === 'ERR_MODULE_NOT_FOUND' && memberOf(error, 'url') === script ? invalid('does not exist', error) : error
  })
  const given = memberOf(module, 'default')
  // in a script compiled to CommonJS, the default export is one level deeper
  const register = memberOf(given, '__esModule') === true ? memberOf(given, 'default') : given
  if (typeof register !== 'function') throw invalid('must have a function as default export: (ds) => {}')
  return { register: register as (ds: WorkerDatasole) => unknown, contract: memberOf(module, 'contract') ?? memberOf(given, 'contract') }
}

/** Loads the script in a thread, and runs its tasks in order. */
class WorkerThread {
  readonly #setup: WorkerSetup
  readonly #link: MainLink
  readonly #connections = new Map<number, WorkerConnection>()
  readonly #waiting = new Map<number, Waiting>()
  #tasks!: WorkerTasks
  #isScheduled = false

  constructor (setup: WorkerSetup) {
    this.#setup = setup
    this.#link = new MainLink(setup.port, setup.levels)
    setup.port.on('message', (batch: BatchToWorker) => { this.#receive(batch) })
  }

  /** Loads the script. An error makes the start fail. */
  async load (): Promise<void> {
    const { script, schemas, limits } = this.#setup
    const compile = schemas === undefined ? undefined : ((await import(schemas)) as SchemaModule).workerCompiler()
    const { register, contract } = await load(script)
    this.#tasks = new WorkerTasks(limits, this.#link, compile, methodSchemas(limits.contract, contract))
    await register(new WorkerDatasole(this.#tasks, this.#link, limits.maxJsonDepth))
    this.#tasks.seal()
    const methods = Array.from(this.#tasks.methods.values(), ({ name, timeoutMs }) => ({ name, timeoutMs }))
    this.#link.outbox.push([FromWorker.READY, methods, [...this.#tasks.handlers.keys()]])
  }

  failed (error: unknown): void {
    const copy = copyError(error)
    const { outbox } = this.#link
    // send earlier log lines first
    outbox.flush()
    try {
      this.#setup.port.postMessage([{ totals: this.#link.totals }, [[FromWorker.FAILED, error, copy]]])
    } catch {
      // the error has members that are not cloneable
      outbox.push([FromWorker.FAILED, Object.assign(new Error(copy.message), { name: copy.name, stack: copy.stack }), copy])
    }
  }

  #receive ([sentAt, messages]: BatchToWorker): void {
    this.#step()
    for (const message of messages) {
      switch (message[0]) {
        case ToWorker.CONNECTION:
          this.#connections.set(message[1], new WorkerConnection(message[1], message[2], this.#setup.limits.maxTags, this.#link))
          break
        case ToWorker.FORGET:
          this.#connections.delete(message[1])
          break
        case ToWorker.TASK:
          this.#waiting.set(message[1], { task: message, connection: this.#connections.get(message[4]), sentAt })
          break
        case ToWorker.ABORT:
          this.#abort(message[1], new RpcError(message[2], message[3], message[4]))
          break
        case ToWorker.REPLY:
          this.#link.replied(message[1], message[2], message[3])
          break
        case ToWorker.PING:
          this.#link.outbox.push([FromWorker.PONG])
          break
        case ToWorker.LOGGED:
          this.#link.logged(message[1])
          break
        case ToWorker.MEASURE:
          this.#link.waits = message[1] ? [] : undefined
      }
    }
    if (!this.#isScheduled) this.#run()
  }

  /** Aborts a running task, or drops a queued one. */
  #abort (id: number, reason: RpcError): void {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return this.#tasks.abort(id, reason)
    this.#waiting.delete(id)
    this.#link.outbox.push([FromWorker.ENDED, id])
  }

  /** Runs queued tasks for a slice of time. */
  #run (): void {
    this.#isScheduled = false
    const { totals } = this.#link
    const began = sharedNow()
    let now = began
    for (const [id, { task, connection, sentAt }] of this.#waiting) {
      this.#waiting.delete(id)
      this.#step()
      totals[0]++
      totals[1] += now - sentAt
      this.#link.waits?.push(now - sentAt)
      this.#link.trace.run(task[7], () => { this.#tasks.run(task, connection) })
      const then = now
      now = sharedNow()
      totals[2] += now - then
      if (now - began > SLICE) break
    }
    if (this.#waiting.size > 0) {
      this.#isScheduled = true
      setImmediate(() => { this.#run() })
    }
    this.#link.outbox.flush()
  }

  #step (): void {
    Atomics.add(this.#setup.progress, 0, 1)
  }
}
