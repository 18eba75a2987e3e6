import { LiveClient } from '../client/live-client.js'
import type { InspectorContract } from '../inspector/views.js'

type Rpc = InspectorContract['rpc']

/** The page's connection: an ordinary client of the inspector's own server. */
export class ServerLink {
  readonly #client: LiveClient
  /** Whether this viewer may run actions, from the server's answer at the last connection. */
  mayAct = false
  #node = ''

  /** @param onState gets each state of the connection, with the message of a failure */
  constructor (onState: (state: string, failure?: string) => void) {
    this.#client = new LiveClient({ url: new URL('.', location.href).href, path: '/live', useWorker: false, reconnectInterval: 500, onError: () => { /* onState shows it */ } })
    this.#client.onConnectionState((state, cause) => {
      if (state !== 'connected') return onState(state, cause?.message)
      this.call('hello', undefined).then(({ mayAct, node }) => {
        this.mayAct = mayAct
        this.#node = node
        onState(state)
      }, () => { /* the connection was lost again */ })
    })
  }

  /** The node that serves the page. */
  get node (): string { return this.#node }

  open (): void {
    this.#client.connect().catch(() => { /* onState shows it */ })
  }

  /** Calls `fn` with each value of a view. @returns ends the subscription */
  follow<T> (view: string, fn: (value: T) => void): () => void {
    return this.#client.subscribeState(view, (value) => { if (value !== undefined) fn(value as T) })
  }

  async call<M extends keyof Rpc> (method: M, params: Rpc[M]['params']): Promise<Rpc[M]['result']> {
    return await this.#client.rpc(method, params, { timeoutMs: 10_000 }) as Rpc[M]['result']
  }
}
