import type { AbortSignalLike } from '../protocol/abort.js'
import type { CrdtName, CrdtTypeOf, CrdtValue, DatasoleContract, EventData, EventName, RpcErrorOf, RpcName, RpcParams, RpcResult, SentData, StateAt, StateName, StateValue } from '../protocol/contract.js'
import { DatasoleError, RpcError } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import type { Channel } from './channel.js'
import { type ClientCrdt, crdt } from './client-crdt-handle.js'
import type { DatasoleClientOptions, OutboxOptions } from './client-options.js'
import type { ConnectOptions } from './deferred.js'
import type { EventHandler } from './event-handlers.js'
import type { ConnectionState, WebSocketConstructor, WebSocketLike } from './link.js'
import type { RpcOutcome } from './call-types.js'
import { type ConnectionStateHandler, LiveClient } from './live-client.js'
import { channel } from './open-channels.js'
import type { ChannelHandler } from './optimistic-value.js'
import type { CallOptions } from './pending-calls.js'
import type { Selection } from './selection.js'
import type { InitialState, StateHandler, SubscriptionOptions, SubscriptionStatus } from './state-subscriptions.js'

export { DatasoleError, LiveClient, RpcError, channel, crdt }
export { RpcCode } from '../protocol/codes.js'
export type { ClientCounter, ClientCrdt, ClientDocument, ClientMap, CrdtSubscription, ClientRegister } from './client-crdt-handle.js'
export type { CrdtName, CrdtTypeOf, CrdtValue, EventData, EventName, RpcErrorOf, RpcName, RpcParams, RpcResult, SentData, StateName, StateValue }
export type { AbortSignalLike, CallOptions, Channel, ConnectOptions, ConnectionStateHandler, ChannelHandler, ConnectionState, DatasoleClientOptions, DatasoleContract, DeepReadonly, EventHandler, InitialState, OutboxOptions, RpcOutcome, Selection, StateHandler, SubscriptionOptions, SubscriptionStatus, Unsubscribe, WebSocketConstructor, WebSocketLike }

/** A `LiveClient` that also has channels and CRDTs as methods. */
export class DatasoleClient<C extends DatasoleContract = DatasoleContract> extends LiveClient<C> {
  /**
   * Opens a CRDT: a value that many clients change concurrently. Operations apply locally at once, and the server merges
   * them with those of other clients. Operations made offline are sent after reconnecting, and count exactly once.
   * @param key the key
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @returns the handle
   * @throws DatasoleError `TYPE_MISMATCH` if this client has the key open as another type
   * @throws TypeError `INVALID_ARGUMENT` if the type is unknown
   */
  crdt<K extends CrdtName<C>, T extends CrdtTypeOf<C, K>> (key: K, type: T): ClientCrdt<T, CrdtValue<C, K, T>> {
    return crdt(this, key, type)
  }

  /**
   * Opens a sync channel. Changes apply locally at once, are sent when the client is connected, and take effect exactly
   * once.
   * @param key the key of the channel
   * @returns the same channel for the same key, until it is closed
   */
  channel<K extends StateName<C>> (key: K): Channel<StateAt<C, K>> {
    return channel(this, key)
  }
}
