import { useEffect, useMemo, useSyncExternalStore } from 'react'
import type { DatasoleContract, RpcName } from '../../protocol/contract.js'
import { type RpcCall, type RpcSnapshot, RpcStore } from '../rpc-store.js'
import { type ScopeContext, useScope } from './react-provider.js'

/** The result of `useRpc`: the state of the latest call, and the function `call`. */
export interface RpcCalls<C extends DatasoleContract, M extends RpcName<C>> extends RpcSnapshot<C, M> {
  /** Calls the method. The function stays the same as long as the method is the same. */
  readonly call: RpcCall<C, M>
}

/**
 * Calls a method of the server. Calls in flight are aborted when the component is unmounted.
 * @param method its name
 * @returns the state of the latest call, and the function `call`
 */
export type UseRpc<C extends DatasoleContract> = <M extends RpcName<C>>(method: M) => RpcCalls<C, M>

export function makeUseRpc<C extends DatasoleContract> (context: ScopeContext): UseRpc<C> {
  return function useRpc (method: string) {
    const scope = useScope(context)
    const store = useMemo(() => {
      const calls = new RpcStore(scope.getClient, method)
      return { calls, subscribe: (listener: () => void) => calls.subscribe(listener), getSnapshot: () => calls.getSnapshot() }
    }, [scope, method])
    useEffect(() => () => { store.calls.abort() }, [store])
    const snapshot = useSyncExternalStore(store.subscribe, store.getSnapshot, store.getSnapshot)
    return { ...snapshot, call: store.calls.call }
  } as unknown as UseRpc<C>
}
