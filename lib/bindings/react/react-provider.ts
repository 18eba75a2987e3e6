import { type Context, type ReactElement, type ReactNode, createElement, useContext, useInsertionEffect, useMemo, useState } from 'react'
import type { DatasoleClientOptions } from '../../client/client-options.js'
import { LiveClient } from '../../client/live-client.js'
import type { InitialState } from '../../client/state-subscriptions.js'
import type { DatasoleContract } from '../../protocol/contract.js'
import { DatasoleError } from '../../protocol/errors.js'
import type { InitialStates } from '../initial-states.js'
import { connectOwn } from '../lazy-client.js'

interface CommonProps<C> {
  /** Values that a server rendered. The client follows each from its version. Keep the object stable. */
  initial?: InitialStates<C>
  /** ms that a subscription outlives the last component that uses it. Default 5,000, or that of the Provider around. */
  keepMs?: number
  children?: ReactNode
}

/**
 * `client`: yours, which you connect and disconnect. `options`: the Provider makes a client when it is mounted, connects
 * it, and disconnects it when it is unmounted; later changes of the options have no effect. Neither: the client of
 * the Provider around this one, else one with default options.
 */
export type ProviderProps<C extends DatasoleContract> = CommonProps<C> & (
  { client: LiveClient<C>, options?: undefined } |
  { client?: undefined, options?: DatasoleClientOptions }
)

/** The nearest Provider, as hooks see it. */
export interface Scope {
  /** Makes the client at the first use. Rendering on a server never asks for it. */
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

/** The client of a Provider that makes its own. */
class OwnClient {
  readonly #options: DatasoleClientOptions
  #client: LiveClient | undefined
  #users = 0

  constructor (options: DatasoleClientOptions) {
    this.#options = options
  }

  readonly get = (): LiveClient => (this.#client ??= new LiveClient(this.#options))

  /** Connects. @returns disconnects, unless it is called again at once, as React does in development */
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
    // before the effects of children, which may call methods; and not undone while a child suspends
    useInsertionEffect(() => isOwn ? own.retain() : undefined, [isOwn, own])
    const scope = useMemo((): Scope => ({
      getClient: client !== undefined ? () => client as unknown as LiveClient : isOwn ? own.get : outer!.getClient,
      initial: client === undefined && !isOwn ? { ...outer!.initial, ...initial } : initial,
      keepMs: keepMs ?? outer?.keepMs
    }), [client, isOwn, own, outer, initial, keepMs])
    return createElement(context.Provider, { value: scope }, children)
  }
}
