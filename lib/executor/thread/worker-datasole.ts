import type { DatasoleContract, BroadcastData, EventName, HandlerErrors, HandlerParams, HandlerResult, ReceivedData, RpcName, SentData, StateName, StateAt } from '../../protocol/contract.js'
import { copyJson } from '../../protocol/json.js'
import type { Operation } from '../../protocol/messages.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import { sessionValue, userOf } from '../../server/config/checks.js'
import type { EventHandler } from '../../server/events/events.js'
import { type Target, checkTarget } from '../../server/connection/hub.js'
import type { Logger } from '../../server/context/logger.js'
import type { RpcHandler, RpcOptions } from '../../server/rpc/method.js'
import { WorkerCrdt } from './worker-crdt.js'
import type { MainLink } from './main-link.js'
import { type Recipe, WorkerStates } from './worker-states.js'
import type { WorkerTasks } from './worker-tasks.js'

type ServerValue<C, K extends string> = K extends StateName<C> ? StateAt<C, K> : unknown

/**
 * The server object in a worker script: the argument of its default export. `C` is the application's contract.
 * Registrations are local. All other methods send a request to the main thread. They reject with the errors of the main
 * thread's `ds`, or with `BUSY` if 1,000 requests of the thread are in flight.
 */
export class WorkerDatasole<C extends DatasoleContract = DatasoleContract> {
  /** Methods that run in this thread. */
  readonly rpc: WorkerRpc<C>
  /** Events, state, messages, sessions and CRDTs, like `ds.primitives` on the main thread. */
  readonly primitives: {
    readonly events: WorkerEvents<C>
    readonly live: WorkerLive<C>
    readonly state: WorkerState<C>
    readonly fanout: WorkerFanout<C>
    readonly sessions: WorkerSessions
    readonly crdt: WorkerCrdt<C>
  }

  /** The server's log. */
  readonly log: Logger

  constructor (tasks: WorkerTasks, link: MainLink, maxDepth: number) {
    const states = new WorkerStates(link, maxDepth)
    this.log = link.logger({})
    this.rpc = new WorkerRpc(tasks)
    this.primitives = {
      events: new WorkerEvents(tasks, link, maxDepth),
      live: new WorkerLive(states),
      state: new WorkerState(states),
      fanout: new WorkerFanout(link, maxDepth),
      sessions: new WorkerSessions(link, maxDepth),
      crdt: new WorkerCrdt(link, maxDepth)
    }
  }
}

/** `ds.rpc` in a worker. */
class WorkerRpc<C> {
  readonly #tasks: WorkerTasks

  constructor (tasks: WorkerTasks) { this.#tasks = tasks }

  /**
   * Registers a method that runs in this thread. Call it while the script loads.
   * @param method its name
   * @param options the same as for `rpc.register` on the main thread
   * @param handler the same as for `rpc.register` on the main thread
   * @throws DatasoleError `DUPLICATE_METHOD`, `INVALID_METHOD`, `INVALID_OPTION`, `TOO_LATE`
   */
  register<M extends RpcName<C>> (method: M, handler: RpcHandler<HandlerParams<C, M>, HandlerResult<C, M>, HandlerErrors<C, M>>): void
  register<M extends RpcName<C>> (method: M, options: RpcOptions, handler: RpcHandler<HandlerParams<C, M>, HandlerResult<C, M>, HandlerErrors<C, M>>): void
  register (method: string, options: RpcOptions | RpcHandler<never>, handler?: RpcHandler<never>): void {
    if (typeof options === 'function') this.#tasks.register(method, {}, options as RpcHandler)
    else this.#tasks.register(method, options, handler as RpcHandler)
  }
}

/** `ds.primitives.events` in a worker. */
class WorkerEvents<C> {
  readonly #tasks: WorkerTasks
  readonly #link: MainLink
  readonly #maxDepth: number

  constructor (tasks: WorkerTasks, link: MainLink, maxDepth: number) {
    this.#tasks = tasks
    this.#link = link
    this.#maxDepth = maxDepth
  }

  /**
   * Handles events of this thread's connections. One thread per node handles events that server code emits.
   * @param event the name
   * @param handler gets `{ event, data, timestamp }` (Unix ms), and the client's connection
   * @returns ends the subscription
   * @throws DatasoleError `TOO_LATE` if the script has loaded and the event never had a handler
   */
  on<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): Unsubscribe {
    return this.#tasks.on(event, handler as EventHandler)
  }

  /** Ends the latest subscription of a handler. @param event the name @param handler the function given to `on` */
  off<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): void {
    this.#tasks.off(event, handler as EventHandler)
  }

  /**
   * Calls the handlers of every node. Resolves once the event is published, not when handlers have run.
   * @param event the name
   * @param data plain JSON
   * @throws the same as `events.emit` on the main thread
   */
  async emit<E extends EventName<C>> (event: E, data: SentData<C, E>): Promise<void> {
    await this.#link.request('emit', event, ...present(data, this.#maxDepth))
  }
}

/** `ds.primitives.live` in a worker. A recipe runs in the worker on a copy of the value, and runs again after a conflict. */
class WorkerLive<C> {
  readonly #states: WorkerStates

  constructor (states: WorkerStates) { this.#states = states }

  /**
   * Commits a value, like `live.setState` on the main thread.
   * @param key the key
   * @param value plain JSON
   * @returns the committed JSON Patch (RFC 6902)
   */
  setState<K extends StateName<C>> (key: K, value: StateAt<C, K>): Promise<Operation[]> {
    return this.#states.set(key, value, true)
  }

  /**
   * Commits a change, like `live.update` on the main thread.
   * @param key the key
   * @param recipe changes a draft in this thread, or returns a new value; runs again after a conflict
   * @returns the committed JSON Patch (RFC 6902)
   */
  update<K extends StateName<C>> (key: K, recipe: Recipe<StateAt<C, K>>): Promise<Operation[]> {
    return this.#states.update(key, recipe as Recipe<unknown>, true)
  }

  /** Reads the committed value. @param key the key @returns a copy; undefined if there is none */
  getState<K extends StateName<C>> (key: K): Promise<StateAt<C, K> | undefined> {
    return this.#states.get(key) as Promise<StateAt<C, K> | undefined>
  }

  /** Deletes the value. @param key the key @returns whether there was one */
  deleteState<K extends StateName<C>> (key: K): Promise<boolean> {
    return this.#states.delete(key)
  }
}

/** `ds.primitives.state` in a worker. */
class WorkerState<C> {
  readonly #states: WorkerStates

  constructor (states: WorkerStates) { this.#states = states }

  /**
   * Commits a value, like `state.setState` on the main thread.
   * @param key the key
   * @param value plain JSON
   * @returns the committed JSON Patch (RFC 6902)
   */
  setState<K extends string> (key: K, value: ServerValue<C, K>): Promise<Operation[]> {
    return this.#states.set(key, value, false)
  }

  /**
   * Commits a change, like `state.update` on the main thread.
   * @param key the key
   * @param recipe changes a draft in this thread, or returns a new value; runs again after a conflict
   * @returns the committed JSON Patch (RFC 6902)
   */
  update<K extends string> (key: K, recipe: Recipe<ServerValue<C, K>>): Promise<Operation[]> {
    return this.#states.update(key, recipe as Recipe<unknown>, false)
  }

  /** Reads the committed value. @param key the key @returns a copy; undefined if there is none */
  getState<K extends string> (key: K): Promise<ServerValue<C, K> | undefined> {
    return this.#states.get(key) as Promise<ServerValue<C, K> | undefined>
  }

  /** Deletes the value. @param key the key @returns whether there was one */
  deleteState (key: string): Promise<boolean> {
    return this.#states.delete(key)
  }
}

/** `ds.primitives.fanout` in a worker. */
class WorkerFanout<C> {
  readonly #link: MainLink
  readonly #maxDepth: number

  constructor (link: MainLink, maxDepth: number) {
    this.#link = link
    this.#maxDepth = maxDepth
  }

  /**
   * Sends an event to clients of every node. Resolves once the event is published, not when clients have it.
   * @param event the name
   * @param data plain JSON
   * @param target connections, users or tags. Default: everyone
   * @throws the same as `fanout.broadcast` on the main thread
   */
  async broadcast<E extends EventName<C>> (event: E, data: BroadcastData<C, E>, target: Target = {}): Promise<void> {
    checkTarget(event, target) // check before JSON drops members
    await this.#link.request('broadcast', event, target, ...present(data, this.#maxDepth))
  }
}

/** Data as the last argument of a request. Undefined data adds no argument, because JSON would turn it into null. */
function present (data: unknown, maxDepth: number): unknown[] {
  return data === undefined ? [] : [copyJson(data, maxDepth)]
}

/** `ds.primitives.sessions` in a worker: the sessions of the node. */
class WorkerSessions {
  readonly #link: MainLink
  readonly #maxDepth: number

  constructor (link: MainLink, maxDepth: number) {
    this.#link = link
    this.#maxDepth = maxDepth
  }

  /** Loads the session of a connection's user. @param connection the connection, or `{ userId }` @returns a copy of all fields */
  async restore<T = Record<string, unknown>> (connection: { readonly userId?: string | undefined }): Promise<Partial<T>> {
    return await this.#link.request('sessionRestore', userOf(connection)) as Partial<T>
  }

  /** Reads a field. @param userId the user @param key the field @returns a copy; undefined if there is none */
  async get<T = unknown> (userId: string, key: string): Promise<T | undefined> {
    return await this.#link.request('sessionGet', userId, key) as T | undefined
  }

  /**
   * Sets a field.
   * @param userId the user
   * @param key the field
   * @param value plain JSON
   * @throws TypeError `INVALID_JSON`, RangeError `TOO_DEEP`
   */
  async set (userId: string, key: string, value: unknown): Promise<void> {
    await this.#link.request('sessionSet', userId, key, sessionValue(key, value, this.#maxDepth))
  }

  /** Deletes a field. @param userId the user @param key the field @returns whether it existed */
  async delete (userId: string, key: string): Promise<boolean> {
    return await this.#link.request('sessionDelete', userId, key) as boolean
  }

  /** Resolves when the backend has stored all earlier changes. @param userId the user */
  async flush (userId: string): Promise<void> {
    await this.#link.request('sessionFlush', userId)
  }
}
