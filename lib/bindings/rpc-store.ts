import type { CallArguments } from '../client/call-types.js'
import { onAbort } from '../protocol/abort.js'
import type { DatasoleContract, RpcErrorOf, RpcName, RpcParams, RpcResult } from '../protocol/contract.js'
import { DatasoleError, RpcError, memberOf, messageOf } from '../protocol/errors.js'
import type { LiveClient } from '../client/live-client.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'

/** The state of the calls that one component makes of a method. */
export interface RpcSnapshot<C extends DatasoleContract = DatasoleContract, M extends RpcName<C> = RpcName<C>> {
  /** Whether the latest call has no answer yet. */
  readonly isPending: boolean
  /** The error of the latest call; undefined once another call starts. */
  readonly error: RpcErrorOf<C, M> | DatasoleError | undefined
  /** The latest result. It stays while another call is in flight, and after one has failed. */
  readonly data: RpcResult<C, M> | undefined
}

/**
 * Calls the method. The state follows the latest call; earlier calls still settle their promises. The promise need not
 * be awaited: an error is in `error`, and causes no unhandled rejection.
 * @param args the same as for `client.rpc`
 * @throws the same as `client.rpc`; an AbortError if the component was unmounted
 */
export type RpcCall<C extends DatasoleContract, M extends RpcName<C>> = (...args: CallArguments<RpcParams<C, M>>) => Promise<RpcResult<C, M>>

type State = RpcSnapshot<DatasoleContract, string>

const idle: State = { isPending: false, error: undefined, data: undefined }

/** The calls that one component makes of a method. */
export class RpcStore {
  readonly #getClient: () => LiveClient
  readonly #method: string
  readonly #listeners = new Set<{ listener: () => void }>()
  readonly #inFlight = new Set<AbortController>()
  #latest: AbortController | undefined
  #snapshot = idle

  constructor (getClient: () => LiveClient, method: string) {
    this.#getClient = getClient
    this.#method = method
  }

  getSnapshot (): State { return this.#snapshot }

  subscribe (listener: () => void): Unsubscribe {
    const own = { listener }
    this.#listeners.add(own)
    return unsubscriber(() => { this.#listeners.delete(own) })
  }

  readonly call = (...[params, options = {}]: CallArguments<unknown>): Promise<unknown> => {
    const controller = this.#latest = new AbortController()
    this.#inFlight.add(controller)
    const { signal } = options
    const release = signal === undefined ? undefined : onAbort(signal, () => { controller.abort(signal.reason) })
    const settle = (change: Partial<State>): void => {
      release?.()
      this.#inFlight.delete(controller)
      if (this.#latest === controller) this.#change({ isPending: false, ...change })
    }
    const run = async (): Promise<unknown> => {
      signal?.throwIfAborted()
      return await this.#getClient().rpc(this.#method, params, { ...options, signal: controller.signal })
    }
    this.#change({ isPending: true, error: undefined })
    const answer = run()
    answer.then((data) => { settle({ data }) }, (error: unknown) => { settle({ error: controller.signal.aborted || signal?.aborted === true ? undefined : shown(error) }) })
    return answer
  }

  /** Aborts the calls in flight, because the component was unmounted. */
  abort (): void {
    for (const call of this.#inFlight) call.abort()
  }

  #change (change: Partial<State>): void {
    this.#snapshot = { ...this.#snapshot, ...change }
    for (const { listener } of [...this.#listeners]) listener()
  }
}

/** Converts an error for `error`. Errors other than RpcError and DatasoleError come only from invalid parameters. */
function shown (error: unknown): State['error'] {
  if (error instanceof RpcError || error instanceof DatasoleError) return error
  return new DatasoleError(String(memberOf(error, 'code') ?? 'INVALID_ARGUMENT'), messageOf(error), { cause: error })
}
