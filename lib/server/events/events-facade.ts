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

  /** Several handlers may be there; one that throws or rejects is logged, and the others still run. */
  on<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): Unsubscribe {
    return this.#events.on(event, handler as EventHandler, this.scope)
  }

  off<E extends EventName<C>> (event: E, handler: EventHandler<ReceivedData<C, E>>): void {
    this.#events.off(event, handler as EventHandler)
  }

  /**
   * Reaches the handlers on every node; for clients there is `fanout.broadcast`.
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`
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
   * @throws TypeError `INVALID_JSON` where JSON cannot hold `data`, `INVALID_ARGUMENT` for a target that is none
   */
  broadcast<E extends EventName<C>> (event: E, data: BroadcastData<C, E>, target?: Target): void {
    this.#fanout.broadcast(event, data, target, this.scope)
  }
}
