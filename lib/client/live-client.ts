import type { DatasoleContract, EventData, EventName, RpcErrorOf, RpcName, RpcParams, RpcResult, SentData, StateAt, StateName } from '../protocol/contract.js'
import { DatasoleError, RpcError, checkHandler, messageOf } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import { stringify } from '../protocol/json.js'
import type { AuthRefresh, ErrorMessage, GoAway, Head, RpcResponse, ServerEvent, StatePatch, StateSnapshot, Welcome } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { Deferred, type ConnectOptions, abortedBy } from './deferred.js'
import type { CallArguments, EventArguments, RpcOutcome } from './call-types.js'
import { notConnected } from './pending-calls.js'
import { type Bytes, type Compact, type Message, decode } from './codec.js'
import { type EventHandler, EventHandlers } from './event-handlers.js'
import { type ClientHost, FEATURES, Features } from './feature.js'
import type { ConnectionState, Failure, Link, LinkEvents } from './link.js'
import { type ClientSettings, type DatasoleClientOptions, protocolsOf, resolveOptions } from './client-options.js'
import { makeLink } from './make-link.js'
import { followPage } from './page-life.js'
import { TokenRenewal } from './token-renewal.js'
import { Requests } from './requests.js'
import { type Selection, onSelection } from './selection.js'
import { type StateHandler, type SubscriptionOptions, type SubscriptionStatus, StateSubscriptions } from './state-subscriptions.js'

/** Gets each new state of the connection and, if there was a failure, its error. */
export type ConnectionStateHandler = (state: ConnectionState, cause?: DatasoleError) => void

/**
 * A client of a datasole server, for browsers and Node.js, with RPC, events and live state. `C` is the application's
 * contract. The functions `channel()` and `crdt()` add channels and CRDTs; `DatasoleClient` has them as methods.
 *
 * After a lost connection the client reconnects with backoff, and every subscription resumes from its version.
 */
export class LiveClient<C extends DatasoleContract = DatasoleContract> {
  readonly #settings: ClientSettings
  readonly #requests: Requests
  readonly #subscriptions: StateSubscriptions
  readonly #renewal: TokenRenewal
  readonly #handlers: EventHandlers
  readonly #events: LinkEvents = {
    onState: (state, welcome, failure) => { this.#onState(state, welcome, failure) },
    onFrame: (frame) => { this.#onFrame(frame) },
    onUnsent: (id, failure) => { if (!this.#requests.unsent(id, errorOf(failure)) && !this[FEATURES].some((feature) => feature.unsent(id, failure))) this.#settings.onError(errorOf(failure)) },
    onOffer: () => { this.#offer() },
    onProblem: (failure) => {
      if (failure.code === 'BAD_FRAME') this.#subscriptions.missed()
      this.#settings.onError(errorOf(failure))
    }
  }

  readonly #stateHandlers = new Set<{ handler: ConnectionStateHandler }>()
  #link: Link | undefined
  #state: ConnectionState = 'disconnected'
  #connecting: Deferred | undefined
  #connectionId: string | undefined
  #unfollow: (() => void) | undefined
  /** @internal */
  readonly [FEATURES]: Features

  /** @throws DatasoleError `INVALID_OPTION`; the message names the option */
  constructor (options: DatasoleClientOptions = {}) {
    this.#settings = resolveOptions(options)
    const { onError, getToken, outbox } = this.#settings
    const client = this
    const host: ClientHost = {
      get isConnected () { return client.#state === 'connected' },
      get subscriptions () { return client.#subscriptions },
      nextId: () => this.#requests.nextId(),
      send: (opcode, id, message) => { this.#link?.send(opcode, id, JSON.stringify(message)) },
      sendJson: (opcode, id, json) => { this.#link?.send(opcode, id, json) },
      onError
    }
    this.#requests = new Requests(host, outbox)
    this.#subscriptions = new StateSubscriptions(host)
    this.#handlers = new EventHandlers(onError)
    this.#renewal = new TokenRenewal(host, getToken)
    this[FEATURES] = new Features(host)
  }

  /** The server's id of the connection; undefined while disconnected. */
  get connectionId (): string | undefined { return this.#connectionId }

  /**
   * Connects, and resolves at the server's WELCOME. By default it keeps trying; `onError` gets the first failure.
   * @param options.signal aborts the attempt
   * @throws DatasoleError `CONNECT_TIMEOUT` after `connectTimeoutMs`, `CONNECT_ABORTED` by the signal
   * @throws DatasoleError `DISCONNECTED` after `disconnect()`; the last failure with `reconnect: false`, after
   *   `maxReconnectAttempts`, or after a final close code: 1008, 4426, or 4401 (with `getToken`, the second 4401)
   */
  connect ({ signal }: ConnectOptions = {}): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(abortedBy(signal))
    if (this.#state === 'connected') return Promise.resolve()
    const attempt = (this.#connecting ??= new Deferred(this.#settings.connectTimeoutMs, () => { this.#link?.close() }))
    if (signal !== undefined) attempt.endWith(signal)
    if (this.#link === undefined) {
      const link = this.#link = makeLink(this.#settings, this.#events)
      this.#unfollow = followPage((event) => { link.page(event) })
      link.open()
    }
    return attempt.promise
  }

  /** Closes the connection without reconnecting. Calls in flight reject. `connect()` opens a new one. */
  async disconnect (): Promise<void> {
    this.#link?.close()
  }

  /**
   * Calls a method of the server. The call is queued while `maxCallsInFlight` handlers of this client run, including
   * those of cancelled calls; its timeout includes this time. If the server closes before the call has started, the
   * call is sent on the next connection. The caller owns the result.
   * @param method its name @param args the method's parameters, then `{timeoutMs?, signal?, traceparent?}`
   * @returns the method's result
   * @throws RpcError the server's error, or `-32001` after the timeout
   * @throws DatasoleError `OUTCOME_UNKNOWN` (the connection dropped during the call), `NOT_CONNECTED`, `BUSY` (too
   *   many messages are queued), `PAYLOAD_TOO_LARGE` (larger than the server accepts)
   * @throws TypeError `INVALID_JSON` if JSON cannot represent the parameters; the signal's reason, if it was aborted
   */
  async rpc<M extends RpcName<C>> (method: M, ...args: CallArguments<RpcParams<C, M>>): Promise<RpcResult<C, M>> {
    const [params, options = {}] = args
    options.signal?.throwIfAborted()
    if (this.#state === 'disconnected') throw notConnected()
    return await this.#requests.call(method, params, { ...options, timeoutMs: options.timeoutMs ?? this.#settings.rpcTimeoutMs }) as RpcResult<C, M>
  }

  /**
   * Calls a method, and resolves to `{ ok: true, result }` or `{ ok: false, error }`, with typed errors of the contract.
   * @param method its name @param args the same as for `rpc`
   * @throws the same as `rpc`, except RpcError: DatasoleError, TypeError, the signal's reason
   */
  async tryRpc<M extends RpcName<C>> (method: M, ...args: CallArguments<RpcParams<C, M>>): Promise<RpcOutcome<C, M>> {
    try {
      return { ok: true, result: await this.rpc(method, ...args) }
    } catch (error) {
      if (error instanceof RpcError) return { ok: false, error: error as RpcErrorOf<C, M> }
      throw error
    }
  }

  /**
   * Sends an event, at most once.
   * @param event the name @param data plain JSON @param options `{ traceparent? }`
   * @returns false if the client is disconnected and has no `outbox`, or if the queue is full. If the link refuses to
   *   send the event (too many bytes buffered, or larger than the server accepts), `onError` gets the error
   * @throws TypeError `INVALID_JSON` if JSON cannot represent the data
   */
  emit<E extends EventName<C>> (event: E, ...[data, options]: EventArguments<SentData<C, E>>): boolean {
    const json = stringify({ event, data, traceparent: options?.traceparent })!
    return (this.#state !== 'disconnected' || this.#settings.outbox !== undefined) && this.#requests.emit(event, json)
  }

  /** Handles an event of the server. @param event the name @param handler called twice if added twice @throws TypeError `INVALID_ARGUMENT` */
  on<E extends EventName<C>> (event: E, handler: EventHandler<EventData<C, E>>): Unsubscribe {
    return this.#handlers.on(event, handler as EventHandler)
  }

  /** Removes the latest subscription of a handler. @param event the name @param handler the function given to `on` */
  off<E extends EventName<C>> (event: E, handler: EventHandler<EventData<C, E>>): void {
    this.#handlers.off(event, handler as EventHandler)
  }

  /**
   * Subscribes to a key. The handler gets the frozen value when it is known and after each change; undefined for no value.
   * @param key the key @param handler gets the value, the position and the patches @param options see `SubscriptionOptions`
   * @param options.selector selects a part; the handler is called only when the part has changed, as `equals` decides.
   *   TypeScript infers the type of the part if the parameter of the selector or of the handler has a type
   * @returns unsubscribes the handler
   * @throws TypeError `INVALID_ARGUMENT` if the handler or the selector is not a function
   */
  subscribeState<K extends StateName<C>> (key: K, handler: StateHandler<StateAt<C, K>>, options?: SubscriptionOptions<StateAt<C, K>>): Unsubscribe
  subscribeState<K extends StateName<C>, S> (key: K, handler: (selected: S, head: Readonly<Head>) => void, options: SubscriptionOptions<StateAt<C, K>> & Selection<StateAt<C, K>, S>): Unsubscribe
  subscribeState (key: string, handler: StateHandler<never>, options: object = {}): Unsubscribe {
    checkHandler(`subscribeState("${key}")`, handler)
    const { selector, equals } = options as Partial<Selection<never, never>>
    if (selector !== undefined) checkHandler(`selector of subscribeState("${key}")`, selector)
    const selected = selector === undefined ? handler : onSelection<never, never>(handler, { selector, equals })
    return this.#subscriptions.add(key, selected as unknown as StateHandler, options)
  }

  /** Reads the local value of a subscribed key. @param key the key */
  getState<K extends StateName<C>> (key: K): DeepReadonly<StateAt<C, K>> | undefined {
    return this.#subscriptions.get(key) as DeepReadonly<StateAt<C, K>> | undefined
  }

  /** Reads the status of a key. @param key the key @returns undefined if there is no subscription */
  getStateStatus<K extends StateName<C>> (key: K): SubscriptionStatus | undefined {
    return this.#subscriptions.statusOf(key)
  }

  /** The current state of the connection. */
  getConnectionState (): ConnectionState { return this.#state }

  /** Follows the state of the connection. @param handler called at each change @throws TypeError `INVALID_ARGUMENT` */
  onConnectionState (handler: ConnectionStateHandler): Unsubscribe {
    checkHandler('onConnectionState', handler)
    const own = { handler }
    this.#stateHandlers.add(own)
    return unsubscriber(() => { this.#stateHandlers.delete(own) })
  }

  #onState (state: ConnectionState, welcome?: Welcome, failure?: Failure): void {
    const before = this.#state
    this.#state = state
    this.#connectionId = welcome?.connectionId
    if (before === 'connected') {
      this.#requests.disconnected()
      this.#subscriptions.disconnected()
      this[FEATURES].disconnected()
      this.#renewal.end()
    }
    if (state === 'connected') {
      this.#handlers.connected(welcome?.at)
      this[FEATURES].connected()
      this.#subscriptions.connected()
      this.#requests.connected(welcome?.maxCallsInFlight)
      this.#connecting?.succeeded()
      this.#connecting = undefined
    } else if (state === 'reconnecting') {
      const { code, message } = failure!
      if (this.#connecting?.goesOn(errorOf(failure!)) === true) this.#settings.onError(new DatasoleError(code, `${message}; connect() keeps trying`))
    } else if (state === 'disconnected') {
      if (failure?.code === 'CONTRACT_MISMATCH') this.#guard(() => { this.#settings.onContractMismatch?.(errorOf(failure)) })
      this.#link = undefined
      this.#unfollow?.()
      this.#requests.abandoned()
      this.#giveUp(failure)
    }
    if (state === before) return
    const cause = failure && errorOf(failure)
    for (const { handler } of [...this.#stateHandlers]) {
      // an earlier handler may have called connect() or disconnect()
      if (this.#state === state) this.#guard(() => { handler(state, cause) })
    }
  }

  #onFrame (frame: Bytes): void {
    let message: Message
    try {
      message = decode(frame)
    } catch (error) {
      this.#subscriptions.missed()
      return this.#settings.onError(new DatasoleError('BAD_FRAME', `the server sent an invalid frame: ${messageOf(error)}`))
    }
    // a malformed message must not end the process
    this.#guard(() => { this.#receive(message) })
  }

  #receive ({ opcode, correlationId, payload }: Message): void {
    switch (opcode) {
      case Opcode.RPC_RES:
        return this.#requests.answered(correlationId, payload as RpcResponse)
      case Opcode.GOAWAY:
        return this.#requests.left(payload as GoAway)
      case Opcode.EVENT_S2C:
        return this.#handlers.receive(payload as ServerEvent)
      case Opcode.EVENT_COMPACT:
        return this.#handlers.receiveCompact(payload as Compact)
      case Opcode.PATCH_COMPACT:
        return this.#subscriptions.receiveCompact(payload as Compact)
      case Opcode.STATE_PATCH:
      case Opcode.STATE_SNAPSHOT:
        return this.#subscriptions.receive(opcode, correlationId, payload as StatePatch | StateSnapshot)
      case Opcode.AUTH_REFRESH:
        return this.#renewal.receive(correlationId, payload as AuthRefresh)
      case Opcode.ERROR: {
        const error = payload as ErrorMessage
        if (this.#renewal.refused(correlationId, error) || this.#subscriptions.refused(correlationId, error) || this[FEATURES].some((feature) => feature.refused(correlationId, error))) return
        return this.#settings.onError(new DatasoleError(error.code, error.event === undefined ? error.message : `event "${error.event}" was refused: ${error.message}`))
      }
      default:
        this[FEATURES].some((feature) => feature.receive(opcode, correlationId, payload))
    }
  }

  #giveUp (failure: Failure | undefined): void {
    const connecting = this.#connecting
    this.#connecting = undefined
    if (connecting !== undefined) connecting.failed(failure && errorOf(failure))
    else if (failure !== undefined) this.#settings.onError(errorOf(failure))
  }

  /** Gets the token for the next connection of the link. */
  #offer (): void {
    const link = this.#link
    this.#settings.getToken!().then(
      (token) => { link?.offer(protocolsOf(token)) },
      (error: unknown) => { link?.offer({ code: 'TOKEN_FAILED', message: `getToken failed: ${messageOf(error)}` }) }
    )
  }

  #guard (run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#settings.onError(error)
    }
  }
}

function errorOf ({ code, message }: Failure): DatasoleError {
  return new DatasoleError(code, message)
}
