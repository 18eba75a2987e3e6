import type { EventData, EventName, RpcName, RpcParams, RpcResult, StateName, StateValue } from '../protocol/contract.js'
import type { Operation } from '../protocol/messages.js'
import type { RateLimitResult, RateLimitRule } from '../protocol/sliding-window.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import { userOf } from './config/checks.js'
import type { Core } from './core.js'
import { checkKey, checkRequest } from './limits/default-rate-limiter.js'
import type { EventHandler } from './events/events.js'
import type { Scope } from './scope/scope.js'
import type { Target } from './connection/hub.js'
import type { RpcHandler, RpcOptions } from './rpc/method.js'
import type { LocalCallContext } from './rpc/rpc.js'
import type { SessionListener } from './sessions/sessions.js'
import type { Recipe } from './store/write.js'

/** A facade of server `S`, through which code that has only the facade finds its siblings. */
export class Facade<S> {
  protected readonly core: Core
  readonly #server: S

  constructor (core: Core, server: S) {
    this.core = core
    this.#server = server
    Object.defineProperty(this, 'core', { enumerable: false })
  }

  get server (): S { return this.#server }
}

/** A facade whose registrations belong to a scope. */
export class ScopedFacade<S> extends Facade<S> {
  protected readonly scope: Scope

  constructor (core: Core, server: S, scope: Scope) {
    super(core, server)
    this.scope = scope
    Object.defineProperty(this, 'scope', { enumerable: false })
  }
}

/** `ds.rpc`: methods that clients call. */
export class RpcFacade<C, S> extends ScopedFacade<S> {
  /**
   * Registers a method.
   * @param handler gets the parameters and a context; what it returns or resolves to is the answer, as JSON.
   *   An error that is meant for the client reaches it with message, numeric `code` and `data`: an RpcError, one
   *   with a numeric `code`, `expose: true` or a `statusCode` below 500, a plain `Error`. Of others it gets an id
   * @throws DatasoleError `DUPLICATE_METHOD` where the name is taken
   */
  register<M extends RpcName<C>> (method: M, handler: RpcHandler<RpcParams<C, M>, RpcResult<C, M>>): void
  register<M extends RpcName<C>> (method: M, options: RpcOptions, handler: RpcHandler<RpcParams<C, M>, RpcResult<C, M>>): void
  register (method: string, options: RpcOptions | RpcHandler<never>, handler?: RpcHandler<never>): void {
    if (typeof options === 'function') this.core.rpc.register(method, {}, options as RpcHandler, this.scope)
    else this.core.rpc.register(method, options, handler as RpcHandler, this.scope)
  }

  /**
   * Runs a method in this process, with its hooks and schema and without the limits on clients:
   * for HTTP routes and tests. Parameters and result are copies, of what JSON holds; nothing is null.
   * @throws RpcError with `code` and `data`, as a client would get it; its `cause` is what was thrown
   * @throws TypeError `INVALID_JSON` for parameters that JSON cannot hold, with the path
   */
  call<M extends RpcName<C>> (method: M, params: RpcParams<C, M>, context?: LocalCallContext): Promise<RpcResult<C, M>> {
    return this.core.rpc.call(method, params, context) as Promise<RpcResult<C, M>>
  }
}

type ServerValue<C, K extends string> = K extends StateName<C> ? StateValue<C, K> : unknown

/** `ds.primitives.state`: the same store for keys of the server's own. Writing does not make a key live. */
export class StateFacade<C, S> extends Facade<S> {
  setState<K extends string> (key: K, value: ServerValue<C, K>): Promise<Operation[]> {
    return this.core.store.set(key, value, false)
  }

  update<K extends string> (key: K, recipe: Recipe<ServerValue<C, K>>): Promise<Operation[]> {
    return this.core.store.update(key, recipe as Recipe<unknown>, false)
  }

  getState<K extends string> (key: K): Promise<ServerValue<C, K> | undefined> {
    return this.core.store.get(key) as Promise<ServerValue<C, K> | undefined>
  }

  deleteState (key: string): Promise<boolean> {
    return this.core.store.delete(key)
  }
}

/** `ds.primitives.events`: events that clients send, and those among the nodes. */
export class EventsFacade<C, S> extends ScopedFacade<S> {
  /** Several handlers may be there; one that throws or rejects is logged, and the others still run. */
  on<E extends EventName<C>> (event: E, handler: EventHandler<EventData<C, E>>): Unsubscribe {
    return this.core.events.on(event, handler as EventHandler, this.scope)
  }

  /** Ends one subscription of this function, the latest. */
  off<E extends EventName<C>> (event: E, handler: EventHandler<EventData<C, E>>): void {
    this.core.events.off(event, handler as EventHandler)
  }

  /**
   * Reaches the handlers on every node; for clients there is `fanout.broadcast`.
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`, with the path; RangeError `TOO_DEEP`
   */
  emit<E extends EventName<C>> (event: E, data: EventData<C, E>): void {
    this.core.events.emit(event, data)
  }
}

/** `ds.primitives.fanout`: events to clients. */
export class FanoutFacade<C, S> extends Facade<S> {
  /**
   * Sends an event to every client, on every node, or to those that `target` selects. It is encoded
   * once; delivery is at most once, in order per connection.
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`, with the path, `INVALID_ARGUMENT` for a target that is none
   */
  broadcast<E extends EventName<C>> (event: E, data: EventData<C, E>, target?: Target): void {
    this.core.broadcast(event, data, target)
  }
}

/**
 * `ds.primitives.rateLimiter`: sliding windows of server code, shared by every node, beside those of
 * frames and never one of them. Rejects where the backend fails: `onBackendError` is about frames.
 * A key is one bucket, whatever the rule: for limits of two lengths use two keys.
 */
export class RateLimiterFacade<S> extends Facade<S> {
  /** Whether a cost of 1 would be admitted; counts nothing. */
  async check (key: string, rule: RateLimitRule): Promise<RateLimitResult> {
    checkRequest(key, rule)
    await this.core.limiterReady()
    return await this.core.rateLimiter.check(`app:${key}`, rule)
  }

  /**
   * Counts `cost` if it is admitted.
   * @throws RangeError where `cost` is over `rule.maxRequests`
   */
  async consume (key: string, rule: RateLimitRule, cost = 1): Promise<RateLimitResult> {
    checkRequest(key, rule, cost)
    await this.core.limiterReady()
    return await this.core.rateLimiter.consume(`app:${key}`, rule, cost)
  }

  /** Empties a bucket. */
  async reset (key: string): Promise<void> {
    checkKey(key)
    await this.core.limiterReady()
    await this.core.rateLimiter.reset(`app:${key}`)
  }
}

/**
 * `ds.primitives.sessions`: what is kept for a user beyond connections. It is read and written at once in
 * the copy that this node has loaded; the backend follows (`flushThreshold`, `flushIntervalMs`), where of
 * two writes of a field the later one wins. Values are JSON, copied in and out; a session may have 256 KiB.
 * A copy goes where its user has no connection here, no `onConnect` hook is letting one in, and nothing waits:
 * 60 s after its last use, two where it was never restored, or sooner where 10,000 such are here.
 *
 * Every method throws (or rejects with) DatasoleError `NO_USER_ID` for a user without an id.
 */
export class SessionsFacade<S> extends Facade<S> {
  /**
   * Loads the session of a connection's user, as the backend has it now; with `ttlMs` its term begins anew.
   * @returns a copy of all fields
   */
  async restore<T = Record<string, unknown>> (connection: { readonly userId?: string | undefined }): Promise<Partial<T>> {
    return await this.core.sessions.restore(userOf(connection)) as Partial<T>
  }

  /** A copy of a field's value; undefined where there is none, or the session has not been restored on this node. */
  get<T = unknown> (userId: string, key: string): T | undefined {
    return this.core.sessions.get(userId, key) as T | undefined
  }

  /**
   * Also for users whose session is not loaded: then it is merged with what there is.
   * @throws TypeError (`INVALID_JSON`) for what JSON cannot hold, with its path; RangeError for what is
   *   too deep (`TOO_DEEP`) or too large (`LIMIT_EXCEEDED`); DatasoleError `BUSY` where the changes of 10,000
   *   users without a connection here wait already, `CLOSED`
   */
  set (userId: string, key: string, value: unknown): void {
    this.core.sessions.set(userId, key, value)
  }

  /** Whether it was there, as far as this node has loaded it; where it has not, the field is deleted all the same. */
  delete (userId: string, key: string): boolean {
    return this.core.sessions.delete(userId, key)
  }

  /**
   * Resolves once the backend has all that was written before. Rejects as the backend does; what was written
   * is not lost by that, but tried again.
   */
  flush (userId: string): Promise<void> {
    return this.core.sessions.flush(userId)
  }

  /**
   * `fn(userId, key, value, version)` hears of every change: those of this node at once, those of others
   * while the session is loaded here. A deletion is `undefined`; `version` grows with each write of a field.
   * @throws DatasoleError `NOT_ENABLED` without the option `session: { enableChangeStream: true }`
   */
  onChange (fn: SessionListener): Unsubscribe {
    return this.core.sessions.onChange(fn)
  }
}

/** `ds.transport`: sockets, as far as server code sees them. */
export class TransportFacade<S> extends Facade<S> {
  /** Open connections on this node. */
  getConnectionCount (): number {
    return this.core.hub.size
  }
}
