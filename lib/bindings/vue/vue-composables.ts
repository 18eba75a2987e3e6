import { type App, type ComputedRef, type InjectionKey, type MaybeRefOrGetter, type ShallowRef, computed, inject, onScopeDispose, shallowRef, toValue, watch } from 'vue'
import type { ClientCrdt } from '../../client/client-crdt-handle.js'
import type { DatasoleClientOptions } from '../../client/client-options.js'
import type { EventHandler } from '../../client/event-handlers.js'
import type { LiveClient } from '../../client/live-client.js'
import type { InitialState, SubscriptionStatus } from '../../client/state-subscriptions.js'
import type { CrdtName, CrdtType, CrdtTypeOf, CrdtValue, DatasoleContract, EventData, EventName, RpcName, StateAt, StateName } from '../../protocol/contract.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { DeepReadonly } from '../../protocol/frozen.js'
import { type ChannelSnapshot, type ChannelStore, channelStore } from '../channel-store.js'
import { type ConnectionSnapshot, connectionStore, unconnected } from '../connection-store.js'
import { type CrdtOperations, type CrdtSnapshot, type CrdtStore, closedCrdt, crdtOperations, crdtStore } from '../crdt-store.js'
import type { InitialStates } from '../initial-states.js'
import { LazyClient, isServer } from '../lazy-client.js'
import { type RpcCall, type RpcSnapshot, RpcStore } from '../rpc-store.js'
import { type ReactiveKey, reactiveKey } from './vue-live.js'

export type { ChannelSnapshot, ConnectionSnapshot, CrdtOperations, CrdtSnapshot, InitialStates, RpcCall, RpcSnapshot }

/** The members of a snapshot as refs. */
export type Refs<S> = { readonly [Name in keyof S]-?: ComputedRef<S[Name]> }

/** The result of `useLive`. Each member is a ref. */
export interface Live<S> {
  /** The read-only value, or the part that the selector returned; undefined while it is unknown or if the key has none. */
  readonly value: S
  /** `skipped` for the key null; `stale` while disconnected; `denied` if the server refused the subscription. */
  readonly status: 'skipped' | SubscriptionStatus
  /** The version of the last change of the value; undefined until it is known. */
  readonly version: number | undefined
  /** The error if the subscription is refused or deferred for long. */
  readonly error: DatasoleError | undefined
}

/** Options of the plugin. `client` and `options` exclude each other. */
export interface PluginOptions<C extends DatasoleContract> {
  /** A client that you connect and disconnect. */
  client?: LiveClient<C>
  /** Options of a client that the plugin creates, connects, and disconnects when the app is unmounted. */
  options?: DatasoleClientOptions
  /** Values that a server rendered, by key. The client follows each from its version. */
  initial?: InitialStates<C>
  /** ms to keep a subscription after its last component unmounts. Default 5,000. */
  keepMs?: number
}

type Selector<C, K, S> = (value: DeepReadonly<StateAt<C, K>> | undefined) => S

/**
 * The composables of a contract. They work in apps that use the plugin of the same `createComposables()` call, and throw
 * DatasoleError `NO_PROVIDER` in other apps.
 */
export interface Composables<C extends DatasoleContract> {
  /** `app.use(plugin, { options: { url } })` */
  plugin: { install (app: App, options?: PluginOptions<C>): void }
  /**
   * Follows a key of live state. Patches change the value in place, so that only readers of a changed part render again.
   * @param key null to follow none; may be a ref or a getter
   */
  useLive: {
    <K extends StateName<C>> (key: MaybeRefOrGetter<K | null>): Refs<Live<DeepReadonly<StateAt<C, K>> | undefined>>
    /** @param isEqual whether the part is unchanged; default `Object.is` */
    <K extends StateName<C>, S> (key: MaybeRefOrGetter<K | null>, selector: Selector<C, K, S>, isEqual?: (last: S, next: S) => boolean): Refs<Live<S>>
  }
  /** Calls a method. Calls in flight are aborted when the component is unmounted. @param method its name */
  useRpc: <M extends RpcName<C>>(method: M) => Refs<RpcSnapshot<C, M>> & { readonly call: RpcCall<C, M> }
  /** Calls a function at every event while the component is mounted. @param event the name @param handler gets the event */
  useEvent: <E extends EventName<C>>(event: E, handler: EventHandler<EventData<C, E>>) => void
  /** Follows a sync channel, and changes it with `update` and `set` of `Channel`. @param key may be a ref or a getter */
  useChannel: <K extends StateName<C>>(key: MaybeRefOrGetter<K>) => Refs<ChannelSnapshot<StateAt<C, K>>> & {
    readonly update: (recipe: (draft: StateAt<C, K> | undefined) => StateAt<C, K> | DeepReadonly<StateAt<C, K>> | void) => void
    readonly set: (value: StateAt<C, K> | DeepReadonly<StateAt<C, K>>) => void
  }
  /**
   * Follows a CRDT, with the operations of its type.
   * @param key may be a ref or a getter
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @throws DatasoleError `TYPE_MISMATCH` if the client has the key open as another type
   */
  useCrdt: <K extends CrdtName<C>, T extends CrdtTypeOf<C, K>>(key: MaybeRefOrGetter<K>, type: T) => Refs<CrdtSnapshot<ClientCrdt<T, CrdtValue<C, K, T>>['value']>> & Readonly<CrdtOperations<ClientCrdt<T, CrdtValue<C, K, T>>>>
  /** Follows the client's connection. */
  useConnection: () => Refs<ConnectionSnapshot>
  /**
   * The plugin's client, for everything else.
   * @throws DatasoleError `NO_CLIENT` while rendering on a server without a given client
   */
  useClient: () => LiveClient<C>
}

interface Scope {
  getClient: () => LiveClient
  initial: Readonly<Record<string, InitialState | undefined>>
  keepMs: number
}

interface Store<S> { getSnapshot (): S, subscribe (listener: () => void): () => void }

/** Follows the snapshots of a store. A ref may select another store. */
function follow<S> (store: () => Store<S> | undefined, none: () => S): Readonly<ShallowRef<S>> {
  if (isServer()) return shallowRef(none())
  const snapshot = shallowRef() as ShallowRef<S>
  watch(store, (current, _last, onCleanup) => {
    snapshot.value = current === undefined ? none() : current.getSnapshot()
    if (current === undefined) return
    onCleanup(current.subscribe(() => { snapshot.value = current.getSnapshot() }))
    snapshot.value = current.getSnapshot()
  }, { immediate: true, flush: 'sync' })
  return snapshot
}

function refsOf<S extends object> (snapshot: () => S, names: Array<keyof S>): Refs<S> {
  return Object.fromEntries(names.map((name) => [name, computed(() => snapshot()[name])])) as Refs<S>
}

/**
 * Creates the composables of a contract: `createComposables<typeof contract>()` or `createComposables<AppContract>()`.
 * Call it once, in a separate module.
 */
export function createComposables<C extends DatasoleContract = DatasoleContract> (): Composables<C> {
  const injection = Symbol('datasole') as InjectionKey<Scope>

  function useScope (): Scope {
    const scope = inject(injection, undefined)
    if (scope === undefined) throw new DatasoleError('NO_PROVIDER', 'a composable of datasole/vue needs the plugin of the same createComposables(): app.use(plugin)')
    return scope
  }

  function install (app: App, { client, options, initial = {}, keepMs = 5000 }: PluginOptions<C> = {}): void {
    const lazy = new LazyClient(client as LiveClient | undefined, options)
    const unmount = app.unmount.bind(app)
    app.unmount = () => {
      unmount()
      lazy.end()
    }
    app.provide(injection, { getClient: lazy.get, initial: initial as Scope['initial'], keepMs })
  }

  function useLive (key: MaybeRefOrGetter<string | null>, selector?: (value: unknown) => unknown, isEqual: (last: unknown, next: unknown) => boolean = Object.is): Refs<Live<unknown>> {
    const { getClient, initial, keepMs } = useScope()
    const used = shallowRef<ReactiveKey>()
    if (!isServer()) {
      watch(() => toValue(key), (name, _last, onCleanup) => {
        used.value = name === null ? undefined : reactiveKey(getClient(), name, { keepMs, initial: initial[name] })
        if (used.value !== undefined) onCleanup(used.value.retain())
      }, { immediate: true, flush: 'sync' })
    }
    const rendered = (): InitialState | undefined => initial[toValue(key) ?? '']
    const whole = (): unknown => isServer() ? rendered()?.value : used.value?.value
    let last: { part: unknown } | undefined
    const value = computed(() => {
      if (selector === undefined) return whole()
      const part = selector(whole())
      if (last === undefined || !isEqual(last.part, part)) last = { part }
      return last.part
    })
    const status = computed(() => toValue(key) === null ? 'skipped' : used.value?.snapshot.value.status ?? (rendered() === undefined ? 'loading' : 'stale'))
    const version = computed(() => isServer() ? rendered()?.version : used.value?.snapshot.value.version)
    return { value, status, version, error: computed(() => used.value?.snapshot.value.error) }
  }

  function useRpc (method: string): Refs<RpcSnapshot> & { call: RpcStore['call'] } {
    const { getClient } = useScope()
    const store = new RpcStore(getClient, method)
    onScopeDispose(() => { store.abort() })
    const snapshot = follow(() => store, () => store.getSnapshot())
    return { ...refsOf(() => snapshot.value, ['isPending', 'error', 'data']), call: store.call }
  }

  function useEvent (event: string, handler: EventHandler): void {
    const { getClient } = useScope()
    if (!isServer()) onScopeDispose(getClient().on(event, handler))
  }

  function useChannel (key: MaybeRefOrGetter<string>) {
    const { getClient, initial, keepMs } = useScope()
    const store = (): ChannelStore => channelStore(getClient(), toValue(key), { keepMs, initial: initial[toValue(key)] })
    const none = (): ChannelSnapshot => ({ value: initial[toValue(key)]?.value, isPending: false, status: initial[toValue(key)] === undefined ? 'loading' : 'stale', error: undefined })
    const snapshot = follow(store, none)
    return {
      ...refsOf(() => snapshot.value, ['value', 'isPending', 'status', 'error']),
      update: (recipe: (draft: unknown) => unknown) => { store().update(recipe) },
      set: (value: unknown) => { store().set(value) }
    }
  }

  function useCrdt (key: MaybeRefOrGetter<string>, type: CrdtType) {
    const { getClient, keepMs } = useScope()
    const store = (): CrdtStore => crdtStore(getClient(), toValue(key), type, keepMs) as unknown as CrdtStore
    const snapshot = follow(store, () => closedCrdt(type))
    return { ...refsOf(() => snapshot.value, ['value', 'isSynced', 'isPending', 'error']), ...crdtOperations(type, (name, args) => { store().operate(name, args) }) }
  }

  function useConnection (): Refs<ConnectionSnapshot> {
    const { getClient } = useScope()
    const snapshot = follow(() => connectionStore(getClient()), () => unconnected)
    return refsOf(() => snapshot.value, ['state', 'error'])
  }

  return {
    plugin: { install },
    useLive: useLive as Composables<C>['useLive'],
    useRpc: useRpc as unknown as Composables<C>['useRpc'],
    useEvent: useEvent as Composables<C>['useEvent'],
    useChannel: useChannel as unknown as Composables<C>['useChannel'],
    useCrdt: useCrdt as unknown as Composables<C>['useCrdt'],
    useConnection,
    useClient: () => useScope().getClient() as unknown as LiveClient<C>
  }
}
