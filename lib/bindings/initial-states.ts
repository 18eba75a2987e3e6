import type { InitialState } from '../client/state-subscriptions.js'
import type { StateAt, StateName } from '../protocol/contract.js'
import type { DeepReadonly } from '../protocol/frozen.js'

/** Values that a server rendered, by key: the results of `ds.primitives.live.getSnapshot(key)` there. */
export type InitialStates<C> = { readonly [K in StateName<C>]?: InitialState<StateAt<C, K> | DeepReadonly<StateAt<C, K>> | undefined> }
