import type { BroadcastData, EventName, ReceivedData, SentData } from '../../protocol/contract.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { Target } from '../connection/hub.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { EventHandler, Events } from './events.js'
import type { Fanout } from './fanout.js'

/** `ds.primitives.events`: events from clients, and events between nodes. */
export class EventsFacade<C, S> extends ScopedFacade<S> {
  readonly #events: Events

  constructor (events: Events, server: S, scope: Scope) {
    super(server, scope)
    this.#events = events
  }

  /**
   * Handles an event that a client of this node sends, or that server code of any node emits. If a handler throws, the
   * error is logged, and the other handlers still run.
   * @param event the name
   * @param handler gets `{ event, data, timestamp }` (Unix ms) and the client's connection; undefined for `emit`
   * @returns ends the subscription
   * @throws TypeError `INVALID_ARGUMENT`
   */
  on<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): Unsubscribe {
    return this.#events.on(event, handler as EventHandler, this.scope)
  }

  /**
   * Removes the latest subscription of a handler.
   * @param event the name
   * @param handler the function that was passed to `on`
   */
  off<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): void {
    this.#events.off(event, handler as EventHandler)
  }

  /**
   * Calls the handlers of every node, at most once. Clients get nothing: see `fanout.broadcast`.
   * @param event the name
   * @param data plain JSON; handlers get a copy
   * @throws TypeError `INVALID_JSON` if JSON cannot hold `data`, `INVALID_VALUE` if the contract refuses it,
   *   `INVALID_ARGUMENT` if the name is not a string; RangeError `TOO_DEEP`
   */
  emit<E extends EventName<C>> (event: E, data: SentData<C, E>): void {
    this.#events.emit(event, data, this.scope)
  }
}

/** `ds.primitives.fanout`: events to clients. */
export class FanoutFacade<C, S> extends ScopedFacade<S> {
  readonly #fanout: Fanout

  constructor (fanout: Fanout, server: S, scope: Scope) {
    super(server, scope)
    this.#fanout = fanout
  }

  /**
   * Sends an event to clients of every node, at most once and in order per connection. It is encoded once.
   * @param event the name
   * @param data plain JSON
   * @param target connections, users or tags to send to, or to exclude. Default: everyone
   * @throws TypeError `INVALID_JSON` if JSON cannot hold `data`, `INVALID_VALUE` if the contract refuses it,
   *   `INVALID_ARGUMENT` for a wrong target; RangeError `TOO_DEEP`
   */
  broadcast<E extends EventName<C>> (event: E, data: BroadcastData<C, E>, target?: Target): void {
    this.#fanout.broadcast(event, data, target, this.scope)
  }
}
