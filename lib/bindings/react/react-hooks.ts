import { type ReactElement, createContext, useEffect, useInsertionEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import type { ClientCrdt } from '../../client/client-crdt-handle.js'
import type { EventHandler } from '../../client/event-handlers.js'
import type { LiveClient } from '../../client/live-client.js'
import type { CrdtName, CrdtTypeOf, CrdtType, CrdtValue, DatasoleContract, EventData, EventName, StateAt, StateName } from '../../protocol/contract.js'
import type { DeepReadonly } from '../../protocol/frozen.js'
import { type ChannelSnapshot, type ChannelStore, channelStore } from '../channel-store.js'
import { type ConnectionSnapshot, connectionStore, unconnected } from '../connection-store.js'
import { type CrdtOperations, type CrdtSnapshot, type CrdtStore, closedCrdt, crdtOperations, crdtStore } from '../crdt-store.js'
import { type UseLive, type UseSuspenseLive, makeUseLive, makeUseSuspenseLive } from './react-live.js'
import { type ProviderProps, type Scope, makeProvider, useScope } from './react-provider.js'
import { type UseRpc, makeUseRpc } from './react-rpc.js'

export type { ChannelSnapshot, ConnectionSnapshot, CrdtOperations, CrdtSnapshot, ProviderProps, UseLive, UseSuspenseLive, UseRpc }
export type { Live } from './react-live.js'
export type { InitialStates } from '../initial-states.js'
export type { RpcCalls } from './react-rpc.js'

/** The result of `useChannel`: the channel's snapshot, and functions that change it. */
export interface ChannelState<T> extends ChannelSnapshot<T> {
  /** The same as `Channel.update`: the recipe changes a draft, or returns a new value. It applies at once. */
  readonly update: (recipe: (draft: T | undefined) => T | DeepReadonly<T> | void) => void
  /** The same as `Channel.set`: replaces the whole value. It applies at once. */
  readonly set: (value: T | DeepReadonly<T>) => void
}

/** The result of `useCrdt`: the CRDT's snapshot, and the operations of its type. */
export type CrdtState<Handle extends { readonly value: unknown }> = CrdtSnapshot<Handle['value']> & Readonly<CrdtOperations<Handle>>

/**
 * The hooks of a contract. They work below the `Provider` of the same `createHooks()` call, and throw DatasoleError
 * `NO_PROVIDER` elsewhere.
 */
export interface Hooks<C extends DatasoleContract> {
  /** Provides a client to the components below it. */
  Provider: (props: ProviderProps<C>) => ReactElement
  /** Follows a key of live state, or a part of it. */
  useLive: UseLive<C>
  /** Like `useLive`, but suspends until the first value is known. */
  useSuspenseLive: UseSuspenseLive<C>
  /** Calls a method, and returns the state of the latest call. */
  useRpc: UseRpc<C>
  /** Calls a function at every event while the component is mounted. @param event the name @param handler need not be stable */
  useEvent: <E extends EventName<C>>(event: E, handler: EventHandler<EventData<C, E>>) => void
  /** Follows a sync channel, and changes it. @param key the key of the channel */
  useChannel: <K extends StateName<C>>(key: K) => ChannelState<StateAt<C, K>>
  /**
   * Follows a CRDT, with the operations of its type.
   * @param key the key
   * @param type `pn-counter`, `lww-register`, `lww-map` or `yjs`
   * @throws DatasoleError `TYPE_MISMATCH` if the client has the key open as another type
   */
  useCrdt: <K extends CrdtName<C>, T extends CrdtTypeOf<C, K>>(key: K, type: T) => CrdtState<ClientCrdt<T, CrdtValue<C, K, T>>>
  /** Follows the client's connection. */
  useConnection: () => ConnectionSnapshot
  /** Returns the Provider's client, for everything else. Not for rendering on a server. */
  useClient: () => LiveClient<C>
}

/**
 * Creates the hooks of a contract: `createHooks<typeof contract>()` or `createHooks<AppContract>()`. Call it once, in a
 * separate module.
 */
export function createHooks<C extends DatasoleContract = DatasoleContract> (): Hooks<C> {
  const context = createContext<Scope | undefined>(undefined)
  context.displayName = 'Datasole'

  function useEvent (event: string, handler: EventHandler): void {
    const scope = useScope(context)
    const latest = useRef(handler)
    useInsertionEffect(() => { latest.current = handler })
    useEffect(() => scope.getClient().on(event, (message) => { latest.current(message) }), [scope, event])
  }

  function useChannel (key: string): ChannelState<unknown> {
    const scope = useScope(context)
    const source = useMemo(() => {
      const initial = scope.initial[key]
      const store = (): ChannelStore => channelStore(scope.getClient(), key, { keepMs: scope.keepMs, initial })
      const rendered: ChannelSnapshot = { value: initial?.value, isPending: false, status: initial === undefined ? 'loading' : 'stale', error: undefined }
      return {
        subscribe: (listener: () => void) => store().subscribe(listener),
        getSnapshot: () => store().getSnapshot(),
        getServerSnapshot: () => rendered,
        update: (recipe: (draft: unknown) => unknown) => { store().update(recipe) },
        set: (value: unknown) => { store().set(value) }
      }
    }, [scope, key])
    const snapshot = useSyncExternalStore(source.subscribe, source.getSnapshot, source.getServerSnapshot)
    return { ...snapshot, update: source.update, set: source.set }
  }

  function useCrdt (key: string, type: CrdtType): CrdtSnapshot {
    const scope = useScope(context)
    const source = useMemo(() => {
      const store = (): CrdtStore => crdtStore(scope.getClient(), key, type, scope.keepMs) as unknown as CrdtStore
      return {
        subscribe: (listener: () => void) => store().subscribe(listener),
        getSnapshot: () => store().getSnapshot(),
        getServerSnapshot: () => closedCrdt(type),
        operations: crdtOperations(type, (name, args) => { store().operate(name, args) })
      }
    }, [scope, key, type])
    const snapshot = useSyncExternalStore(source.subscribe, source.getSnapshot, source.getServerSnapshot)
    return { ...snapshot, ...source.operations }
  }

  function useConnection (): ConnectionSnapshot {
    const scope = useScope(context)
    const source = useMemo(() => ({
      subscribe: (listener: () => void) => connectionStore(scope.getClient()).subscribe(listener),
      getSnapshot: () => connectionStore(scope.getClient()).getSnapshot()
    }), [scope])
    return useSyncExternalStore(source.subscribe, source.getSnapshot, () => unconnected)
  }

  return {
    Provider: makeProvider<C>(context),
    useLive: makeUseLive<C>(context),
    useSuspenseLive: makeUseSuspenseLive<C>(context),
    useRpc: makeUseRpc<C>(context),
    useEvent: useEvent as Hooks<C>['useEvent'],
    useChannel: useChannel as Hooks<C>['useChannel'],
    useCrdt: useCrdt as unknown as Hooks<C>['useCrdt'],
    useConnection,
    useClient: () => useScope(context).getClient() as unknown as LiveClient<C>
  }
}
