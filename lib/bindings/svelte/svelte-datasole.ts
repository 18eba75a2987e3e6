import { onDestroy } from 'svelte'
import type { ClientCrdt } from '../../client/client-crdt-handle.js'
import type { DatasoleClientOptions } from '../../client/client-options.js'
import type { EventHandler } from '../../client/event-handlers.js'
import type { LiveClient } from '../../client/live-client.js'
import { type LiveSnapshot, liveStore } from '../../client/live-store.js'
import type { InitialState, SubscriptionStatus } from '../../client/state-subscriptions.js'
import type { CrdtName, CrdtType, CrdtTypeOf, CrdtValue, DatasoleContract, EventData, EventName, RpcName, StateAt, StateName } from '../../protocol/contract.js'
import type { DatasoleError } from '../../protocol/errors.js'
import type { DeepReadonly } from '../../protocol/frozen.js'
import { type ChannelSnapshot, type ChannelStore, channelStore } from '../channel-store.js'
import { type ConnectionSnapshot, connectionStore, unconnected } from '../connection-store.js'
import { type CrdtOperations, type CrdtSnapshot, type CrdtStore, closedCrdt, crdtOperations, crdtStore } from '../crdt-store.js'
import type { InitialStates } from '../initial-states.js'
import { LazyClient, isServer } from '../lazy-client.js'
import { type RpcCall, type RpcSnapshot, RpcStore } from '../rpc-store.js'
import { Followed, type Readable } from './svelte-followed.js'

export type { ChannelSnapshot, ConnectionSnapshot, CrdtOperations, CrdtSnapshot, InitialStates, Readable, RpcCall, RpcSnapshot }

/** A name, or a function of signals that returns it. */
export type NameOrGetter<N> = N | (() => N)

/** The result of `live`. Read its members in markup and effects, or use it as a store: `$board` is the value. */
export interface Live<S> extends Readable<S> {
  /** The frozen value, or the part that the selector returned; undefined while it is unknown or if the key has none. */
  readonly value: S
  /** `skipped` for the key null; `stale` while disconnected; `denied` if the server refused the subscription. */
  readonly status: 'skipped' | SubscriptionStatus
  /** The version of the last change of the value; undefined until it is known. */
  readonly version: number | undefined
  /** The error if the subscription is refused or deferred for long. */
  readonly error: DatasoleError | undefined
}

/** Options of `createDatasole`. `client` and `options` exclude each other. */
export interface Options<C extends DatasoleContract> {
  /** A client that you connect and disconnect. */
  client?: LiveClient<C>
  /** Options of a client that is created and connected at its first use in a browser. */
  options?: DatasoleClientOptions
  /** Values that a server rendered, by key. The client follows each from its version. */
  initial?: InitialStates<C>
  /** ms to keep a subscription after its last component is destroyed. Default 5,000. */
  keepMs?: number
}

type Selector<C, K, S> = (value: DeepReadonly<StateAt<C, K>> | undefined) => S

/** The functions for components. Call `rpc` and `event` only in a component's script; the others work everywhere. */
export interface Datasole<C extends DatasoleContract> {
  /**
   * Follows a key of live state.
   * @param key null to follow none. A function is called again when its signals change; used as a store, at each
   *   subscription
   */
  live: {
    <K extends StateName<C>> (key: NameOrGetter<K | null>): Live<DeepReadonly<StateAt<C, K>> | undefined>
    /** @param isEqual whether the part is unchanged; default `Object.is` */
    <K extends StateName<C>, S> (key: NameOrGetter<K | null>, selector: Selector<C, K, S>, isEqual?: (last: S, next: S) => boolean): Live<S>
  }
  /** Calls a method. Calls in flight are aborted when the component is destroyed. @param method its name */
  rpc: <M extends RpcName<C>>(method: M) => RpcSnapshot<C, M> & Readable<RpcSnapshot<C, M>> & { readonly call: RpcCall<C, M> }
  /** Calls a function at every event until the component is destroyed. @param event the name @param handler gets the event */
  event: <E extends EventName<C>>(event: E, handler: EventHandler<EventData<C, E>>) => void
  /** Follows a sync channel, and changes it with `update` and `set` of `Channel`. @param key a key, or a function of signals */
  channel: <K extends StateName<C>>(key: NameOrGetter<K>) => ChannelSnapshot<StateAt<C, K>> & Readable<ChannelSnapshot<StateAt<C, K>>['value']> & {
    readonly update: (recipe: (draft: StateAt<C, K> | undefined) => StateAt<C, K> | DeepReadonly<StateAt<C, K>> | void) => void
    readonly set: (value: StateAt<C, K> | DeepReadonly<StateAt<C, K>>) => void
  }
  /**
   * Follows a CRDT, with the operations of its type.
   * @param key a key, or a function of signals
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @throws DatasoleError `TYPE_MISMATCH` if the client has the key open as another type
   */
  crdt: <K extends CrdtName<C>, T extends CrdtTypeOf<C, K>>(key: NameOrGetter<K>, type: T) => CrdtSnapshot<ClientCrdt<T, CrdtValue<C, K, T>>['value']> & Readable<ClientCrdt<T, CrdtValue<C, K, T>>['value']> & Readonly<CrdtOperations<ClientCrdt<T, CrdtValue<C, K, T>>>>
  /** Follows the client's connection. Used as a store, its value is the state. */
  connection: () => ConnectionSnapshot & Readable<ConnectionSnapshot['state']>
  /**
   * The client, for everything else.
   * @throws DatasoleError `NO_CLIENT` while rendering on a server without a given client
   */
  readonly client: LiveClient<C>
}

const valueOf = <N extends string | null>(name: NameOrGetter<N>): N => typeof name === 'function' ? name() : name

/** An object whose members read the snapshot. It is also a store of the result of `select`. */
function readableOf<S extends object, T, M extends object> (followed: Followed<S>, names: Array<keyof S>, select: (snapshot: S) => T, more: M): S & Readable<T> & M {
  const members = Object.fromEntries(names.map((name) => [name, { enumerable: true, get: () => followed.snapshot[name] }]))
  return Object.defineProperties({ ...more, subscribe: (run: (value: T) => void) => followed.readable(select, run) }, members) as unknown as S & Readable<T> & M
}

/**
 * Creates the functions for the components of an application: `createDatasole<typeof contract>({ options: { url } })` or
 * `createDatasole<AppContract>()`. Call it once, in a separate module; on a server, call it once per request.
 * @param options `client` or `options`, and `initial` and `keepMs`. Default: a client for the page's own host
 * @throws DatasoleError `INVALID_OPTION` at the first use, if the client's options are wrong
 */
export function createDatasole<C extends DatasoleContract = DatasoleContract> ({ client, options, initial: given = {}, keepMs = 5000 }: Options<C> = {}): Datasole<C> {
  const initial = given as Readonly<Record<string, InitialState | undefined>>
  const { get: getClient } = new LazyClient(client as LiveClient | undefined, options)

  type Snapshot = Omit<LiveSnapshot, 'status' | 'epoch'> & { status: Live<unknown>['status'] }
  const nothing: Snapshot = { value: undefined, status: 'skipped', version: undefined, error: undefined }
  const rendered = (key: string | null): Snapshot => {
    if (key === null) return nothing
    const start = initial[key]
    return start === undefined ? { ...nothing, status: 'loading' } : { ...nothing, status: 'stale', value: start.value, version: start.version }
  }

  function live (name: NameOrGetter<string | null>, selector: (value: unknown) => unknown = (value) => value, isEqual: (last: unknown, next: unknown) => boolean = Object.is) {
    const followed = new Followed<Snapshot>(() => {
      const key = valueOf(name)
      return key === null || isServer() ? undefined : liveStore(getClient(), key, { keepMs, initial: initial[key] })
    }, () => rendered(valueOf(name)))
    let last: { part: unknown } | undefined
    const select = ({ value }: Snapshot): unknown => {
      const part = selector(value)
      if (last === undefined || !isEqual(last.part, part)) last = { part }
      return last.part
    }
    const readable = readableOf(followed, ['status', 'version', 'error'], select, {})
    return Object.defineProperty(readable, 'value', { enumerable: true, get: () => select(followed.snapshot) })
  }

  function rpc (method: string) {
    const store = new RpcStore(getClient, method)
    onDestroy(() => { store.abort() })
    const followed = new Followed(() => store, () => store.getSnapshot())
    return readableOf(followed, ['isPending', 'error', 'data'], (snapshot) => snapshot, { call: store.call })
  }

  function event (name: string, handler: EventHandler): void {
    if (!isServer()) onDestroy(getClient().on(name, handler))
  }

  function channel (name: NameOrGetter<string>) {
    const store = (): ChannelStore => channelStore(getClient(), valueOf(name), { keepMs, initial: initial[valueOf(name)] })
    const none = (): ChannelSnapshot => ({ ...rendered(valueOf(name)), isPending: false } as ChannelSnapshot)
    const followed = new Followed<ChannelSnapshot>(() => isServer() ? undefined : store(), none)
    return readableOf(followed, ['value', 'isPending', 'status', 'error'], ({ value }) => value, {
      update: (recipe: (draft: unknown) => unknown) => { store().update(recipe) },
      set: (value: unknown) => { store().set(value) }
    })
  }

  function crdt (name: NameOrGetter<string>, type: CrdtType) {
    const store = (): CrdtStore => crdtStore(getClient(), valueOf(name), type, keepMs) as unknown as CrdtStore
    const followed = new Followed<CrdtSnapshot>(() => isServer() ? undefined : store(), () => closedCrdt(type))
    return readableOf(followed, ['value', 'isSynced', 'isPending', 'error'], ({ value }) => value, crdtOperations(type, (operation, args) => { store().operate(operation, args) }))
  }

  function connection () {
    const followed = new Followed<ConnectionSnapshot>(() => isServer() ? undefined : connectionStore(getClient()), () => unconnected)
    return readableOf(followed, ['state', 'error'], ({ state }) => state, {})
  }

  return { live, rpc, event, channel, crdt, connection, get client () { return getClient() } } as unknown as Datasole<C>
}
