import { useEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import { type LiveStore, liveStore } from '../../client/live-store.js'
import type { InitialState, SubscriptionStatus } from '../../client/state-subscriptions.js'
import type { DatasoleContract, StateAt, StateName } from '../../protocol/contract.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { DeepReadonly } from '../../protocol/frozen.js'
import { type Scope, type ScopeContext, useScope } from './react-provider.js'

/** The result of `useLive`. */
export interface Live<S> {
  /** The frozen value, or the part that the selector returned; undefined while it is unknown or if the key has none. */
  readonly value: S
  /** `skipped` for the key null; `stale` while disconnected; `denied` if the server refused the subscription. */
  readonly status: 'skipped' | SubscriptionStatus
  /** The version of the last change of the value; undefined until it is known. */
  readonly version: number | undefined
  /** The error if the subscription is refused or deferred for long. */
  readonly error: DatasoleError | undefined
}

type Selector<C, K, S> = (value: DeepReadonly<StateAt<C, K>> | undefined) => S

/** The hook `useLive` of a contract. */
export interface UseLive<C extends DatasoleContract> {
  /**
   * Follows a key of live state. The component renders again when the value or the status changes.
   * @param key null to follow none
   */
  <K extends StateName<C>> (key: K | null): Live<DeepReadonly<StateAt<C, K>> | undefined>
  /**
   * Follows a part of a key. The component renders again only when the part or the status changes.
   * @param key null to follow none
   * @param selector returns the part; gets undefined while there is no value
   * @param isEqual whether the part is unchanged; default `Object.is`
   */
  <K extends StateName<C>, S> (key: K | null, selector: Selector<C, K, S>, isEqual?: (last: S, next: S) => boolean): Live<S>
}

/** The hook `useSuspenseLive` of a contract. */
export interface UseSuspenseLive<C extends DatasoleContract> {
  /**
   * Follows a key like `useLive`, but suspends until the first value is known. A reconnect does not suspend again.
   * @param key the key
   * @throws DatasoleError the refusal, if the server denies the first subscription; `NO_INITIAL` on a server without
   *   the value in the Provider's `initial`
   */
  <K extends StateName<C>> (key: K): Live<DeepReadonly<StateAt<C, K>> | undefined>
  <K extends StateName<C>, S> (key: K, selector: Selector<C, K, S>, isEqual?: (last: S, next: S) => boolean): Live<S>
}

type Snapshot = Live<unknown>
type Select = (value: unknown) => unknown
type Equal = (last: unknown, next: unknown) => boolean

interface Source {
  subscribe: (listener: () => void) => () => void
  getSnapshot: () => Snapshot
  getServerSnapshot: () => Snapshot
}

const same: Select = (value) => value
const nothing = { value: undefined, version: undefined, error: undefined } as const
const LOADING: Snapshot = { ...nothing, status: 'loading' }
const SKIPPED: Snapshot = { ...nothing, status: 'skipped' }
const skipped: Source = { subscribe: () => () => {}, getSnapshot: () => SKIPPED, getServerSnapshot: () => SKIPPED }

/** Snapshots of values that a server rendered. They are cached, because React compares them by identity. */
const rendered = new WeakMap<InitialState, Snapshot>()

function renderedSnapshot (initial: InitialState): Snapshot {
  let snapshot = rendered.get(initial)
  if (snapshot === undefined) rendered.set(initial, snapshot = { value: initial.value, status: 'stale', version: initial.version, error: undefined })
  return snapshot
}

function storeOfScope ({ getClient, initial, keepMs }: Scope, key: string): LiveStore {
  return liveStore(getClient(), key, { keepMs, initial: initial[key] })
}

function liveSource (scope: Scope, key: string | null, isSuspending: boolean): Source {
  if (key === null) return skipped
  // look up the store each time: it is replaced after keepMs without use
  const store = (): LiveStore => storeOfScope(scope, key)
  return {
    subscribe: (listener) => store().subscribe(() => { listener() }),
    getSnapshot: () => store().getSnapshot(),
    getServerSnapshot () {
      const initial = scope.initial[key]
      if (initial !== undefined) return renderedSnapshot(initial)
      // React then renders the fallback, and continues in the browser
      if (isSuspending) throw new DatasoleError('NO_INITIAL', `useSuspenseLive("${key}") on a server requires a value in the Provider's \`initial\``)
      return LOADING
    }
  }
}

/** Follows a source. Returns the same object while the selected part, the status and the error are unchanged. */
function useSelection (source: Source, selector: Select, isEqual: Equal): Snapshot {
  const committed = useRef<{ source: Source, result: Snapshot } | undefined>(undefined)
  const [getSnapshot, getServerSnapshot] = useMemo(() => {
    let last: { of: Snapshot, result: Snapshot } | undefined
    const select = (of: Snapshot): Snapshot => {
      if (last?.of === of) return last.result
      // an inline selector is a new function in each render, so compare with the last committed result
      const before = last?.result ?? (committed.current?.source === source ? committed.current.result : undefined)
      const { status, version, error } = of
      const value = selector(of.value)
      const isSame = before !== undefined && isEqual(before.value, value)
      const result = isSame && before.status === status && before.error === error ? before : { value: isSame ? before.value : value, status, version, error }
      last = { of, result }
      return result
    }
    return [() => select(source.getSnapshot()), () => select(source.getServerSnapshot())]
  }, [source, selector, isEqual])
  const result = useSyncExternalStore(source.subscribe, getSnapshot, getServerSnapshot)
  useEffect(() => { committed.current = { source, result } }, [source, result])
  return result
}

export function makeUseLive<C extends DatasoleContract> (context: ScopeContext): UseLive<C> {
  return function useLive (key: string | null, selector: Select = same, isEqual: Equal = Object.is): Snapshot {
    const scope = useScope(context)
    const source = useMemo(() => liveSource(scope, key, false), [scope, key])
    return useSelection(source, selector, isEqual)
  } as UseLive<C>
}

/** The promise on which components of a store suspend. They share it. */
const waiting = new WeakMap<LiveStore, Promise<void>>()

export function makeUseSuspenseLive<C extends DatasoleContract> (context: ScopeContext): UseSuspenseLive<C> {
  return function useSuspenseLive (key: string, selector: Select = same, isEqual: Equal = Object.is): Snapshot {
    const scope = useScope(context)
    const source = useMemo(() => liveSource(scope, key, true), [scope, key])
    const result = useSelection(source, selector, isEqual)
    if (result.version !== undefined) return result
    if (result.status === 'denied') throw result.error
    const store = storeOfScope(scope, key)
    let promise = waiting.get(store)
    if (promise === undefined) waiting.set(store, promise = store.ready())
    throw promise // React 18 and 19 suspend when a component throws a promise
  } as UseSuspenseLive<C>
}
