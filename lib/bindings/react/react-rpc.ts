import { useCallback, useEffect, useRef, useState } from 'react'
import type { CallArguments } from '../../client/live-client.js'
import { onAbort } from '../../protocol/abort.js'
import type { DatasoleContract, RpcErrorOf, RpcName, RpcParams, RpcResult } from '../../protocol/contract.js'
import { DatasoleError, RpcError, memberOf, messageOf } from '../../protocol/errors.js'
import { type ScopeContext, useScope } from './react-provider.js'

export interface RpcCalls<C extends DatasoleContract, M extends RpcName<C>> {
  /**
   * Calls the method. `isPending`, `error` and `data` follow the latest call; earlier ones still settle their promises.
   * A rejection that nobody awaits is no unhandled one, as `error` has it.
   * @param args as of `client.rpc`
   * @throws as `client.rpc`; an AbortError if the component was unmounted
   */
  readonly call: (...args: CallArguments<RpcParams<C, M>>) => Promise<RpcResult<C, M>>
  /** Whether the latest call has no answer yet. */
  readonly isPending: boolean
  /** Why the latest call failed; undefined once another begins. */
  readonly error: RpcErrorOf<C, M> | DatasoleError | undefined
  /** The latest result. It stays while another call is under way, or has failed. */
  readonly data: RpcResult<C, M> | undefined
}

/** Calls of a method of the server. Calls that are under way when the component is unmounted are aborted. */
export type UseRpc<C extends DatasoleContract> = <M extends RpcName<C>>(method: M) => RpcCalls<C, M>

interface State { method: string, isPending: boolean, error: Error | undefined, data: unknown }

export function makeUseRpc<C extends DatasoleContract> (context: ScopeContext): UseRpc<C> {
  return function useRpc (method: string) {
    const scope = useScope(context)
    const idle: State = { method, isPending: false, error: undefined, data: undefined }
    const [state, setState] = useState(idle)
    const underWay = useRef(new Set<AbortController>())
    const latest = useRef<AbortController | undefined>(undefined)

    useEffect(() => {
      const calls = underWay.current
      return () => { for (const call of calls) call.abort() }
    }, [])

    const call = useCallback((...[params, options = {}]: CallArguments<unknown>): Promise<unknown> => {
      const controller = latest.current = new AbortController()
      underWay.current.add(controller)
      const { signal } = options
      const release = signal === undefined ? undefined : onAbort(signal, () => { controller.abort(signal.reason) })
      /** @param change of the state, if no later call has begun */
      const settle = (change: Partial<State>): void => {
        release?.()
        underWay.current.delete(controller)
        if (latest.current === controller) setState((last) => ({ ...last, isPending: false, ...change }))
      }
      const run = async (): Promise<unknown> => {
        signal?.throwIfAborted()
        return await scope.getClient().rpc(method, params, { ...options, signal: controller.signal })
      }
      setState((last) => ({ method, isPending: true, error: undefined, data: last.method === method ? last.data : undefined }))
      const answer = run()
      answer.then((data) => { settle({ data }) }, (error: unknown) => { settle({ error: controller.signal.aborted || signal?.aborted === true ? undefined : shown(error) }) })
      return answer
    }, [scope, method])

    const { isPending, error, data } = state.method === method ? state : idle
    return { call, isPending, error, data }
  } as UseRpc<C>
}

/** What `error` has: other than RpcError and DatasoleError, only mistakes in the parameters occur. */
function shown (error: unknown): Error {
  if (error instanceof RpcError || error instanceof DatasoleError) return error
  return new DatasoleError(String(memberOf(error, 'code') ?? 'INVALID_ARGUMENT'), messageOf(error), { cause: error })
}
