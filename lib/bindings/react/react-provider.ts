import { type Context, type ReactElement, type ReactNode, createElement, useContext, useInsertionEffect, useMemo, useState } from 'react'
import type { DatasoleClientOptions } from '../../client/client-options.js'
import { LiveClient } from '../../client/live-client.js'
import type { InitialState } from '../../client/state-subscriptions.js'
import type { DatasoleContract } from '../../protocol/contract.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { InitialStates } from '../initial-states.js'
import { connectOwn } from '../lazy-client.js'

interface CommonProps<C> {
  /** Values that a server rendered. The client follows each from its version. Pass the same object in every render. */
  initial?: InitialStates<C>
  /** ms to keep a subscription after its last component unmounts. Default: the value of the outer Provider, or 5,000. */
  keepMs?: number
  children?: ReactNode
}

/**
 * `client`: a client that you connect and disconnect. `options`: the Provider creates a client, connects it on mount and
 * disconnects it on unmount; later changes of the options have no effect. Neither: the client of the outer Provider, or
 * a client with default options.
 */
export type ProviderProps<C extends DatasoleContract> = CommonProps<C> & (
  { client: LiveClient<C>, options?: undefined } |
  { client?: undefined, options?: DatasoleClientOptions }
)

/** The nearest Provider's settings, for hooks. */
export interface Scope {
  /** Returns the client, and creates it at the first use. Not called while rendering on a server. */
  readonly getClient: () => LiveClient
  readonly initial: Readonly<Record<string, InitialState | undefined>>
  readonly keepMs: number | undefined
}

export type ScopeContext = Context<Scope | undefined>

/** @throws DatasoleError `NO_PROVIDER` */
export function useScope (context: ScopeContext): Scope {
  const scope = useContext(context)
  if (scope === undefined) throw new DatasoleError('NO_PROVIDER', 'a hook of datasole/react needs the Provider of the same createHooks() around its component')
  return scope
}

/** The client that a Provider creates. */
class OwnClient {
  readonly #options: DatasoleClientOptions
  #client: LiveClient | undefined
  #users = 0

  constructor (options: DatasoleClientOptions) {
    this.#options = options
  }

  readonly get = (): LiveClient => (this.#client ??= new LiveClient(this.#options))

  /** Connects. @returns disconnects, unless `retain` is called again at once, as in React's development mode */
  retain (): () => void {
    this.#users++
    void connectOwn(this.get(), this.#options)
    return () => {
      this.#users--
      queueMicrotask(() => { if (this.#users === 0) void this.get().disconnect() })
    }
  }
}

const NONE = {}

/** The Provider component of a context. */
export function makeProvider<C extends DatasoleContract> (context: ScopeContext): (props: ProviderProps<C>) => ReactElement {
  return function Provider ({ client, options, initial = NONE, keepMs, children }: ProviderProps<C>) {
    const outer = useContext(context)
    const [own] = useState(() => new OwnClient(options ?? {}))
    const isOwn = client === undefined && (options !== undefined || outer === undefined)
    // an insertion effect runs before the effects of children, and is not undone while a child suspends
    useInsertionEffect(() => isOwn ? own.retain() : undefined, [isOwn, own])
    const scope = useMemo((): Scope => ({
      getClient: client !== undefined ? () => client as unknown as LiveClient : isOwn ? own.get : outer!.getClient,
      initial: client === undefined && !isOwn ? { ...outer!.initial, ...initial } : initial,
      keepMs: keepMs ?? outer?.keepMs
    }), [client, isOwn, own, outer, initial, keepMs])
    return createElement(context.Provider, { value: scope }, children)
  }
}
