import type { BroadcastData, EventName, ReceivedData, SentData } from '../../protocol/contract.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { Target } from '../connection/hub.js'
import { ScopedFacade } from '../scope/facade.js'
import type { Scope } from '../scope/scope.js'
import type { EventHandler, Events } from './events.js'
import type { Fanout } from './fanout.js'

/** `ds.primitives.events`: events that clients send, and those among the nodes. */
export class EventsFacade<C, S> extends ScopedFacade<S> {
  readonly #events: Events

  constructor (events: Events, server: S, scope: Scope) {
    super(server, scope)
    this.#events = events
  }

  /**
   * Calls the handler at each event that a client of this node sends, or server code of any node emits. An error of a
   * handler is logged, and the others still run.
   * @param handler gets `{ event, data, timestamp }` (Unix ms), and the client's connection; none for `emit`
   * @returns ends the subscription
   * @throws TypeError `INVALID_ARGUMENT`
   */
  on<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): Unsubscribe {
    return this.#events.on(event, handler as EventHandler, this.scope)
  }

  /** Ends one subscription of this handler, the latest. */
  off<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): void {
    this.#events.off(event, handler as EventHandler)
  }

  /**
   * Reaches the handlers on every node, at most once; for clients there is `fanout.broadcast`.
   * @param data plain JSON; handlers get a copy
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`, `INVALID_VALUE` where the contract refuses it,
   *   `INVALID_ARGUMENT` for a name that is no string; RangeError `TOO_DEEP`
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
   * Sends an event to every client, on every node, or to those that `target` selects. It is encoded
   * once; delivery is at most once, in order per connection.
   * @param data plain JSON
   * @param target connections, users or tags to send to, or to leave out. Default: everyone
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`, `INVALID_VALUE` where the contract refuses it,
   *   `INVALID_ARGUMENT` for a target that is none; RangeError `TOO_DEEP`
   */
  broadcast<E extends EventName<C>> (event: E, data: BroadcastData<C, E>, target?: Target): void {
    this.#fanout.broadcast(event, data, target, this.scope)
  }
}
