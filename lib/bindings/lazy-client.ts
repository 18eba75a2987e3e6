import type { DatasoleClientOptions } from '../client/client-options.js'
import { LiveClient } from '../client/live-client.js'
import { DatasoleError } from '../protocol/errors.js'

/** Whether the code renders on a server. It then uses only `initial`, and no client. */
export const isServer = (): boolean => (globalThis as { document?: unknown }).document === undefined

/** The client of an application: the given one, or one that is created and connected at the first use. */
export class LazyClient {
  readonly #given: LiveClient | undefined
  readonly #options: DatasoleClientOptions
  #made: LiveClient | undefined

  constructor (given: LiveClient | undefined, options: DatasoleClientOptions = {}) {
    this.#given = given
    this.#options = options
  }

  /** @throws DatasoleError `NO_CLIENT` while rendering on a server without a given client */
  readonly get = (): LiveClient => {
    if (this.#given !== undefined) return this.#given
    if (this.#made !== undefined) return this.#made
    if (isServer()) throw new DatasoleError('NO_CLIENT', 'no client exists while a server renders: pass the values as `initial`')
    const client = this.#made = new LiveClient(this.#options)
    // connect after the first render, which shows the values that a server rendered
    queueMicrotask(() => { if (this.#made === client) void connectOwn(client, this.#options) })
    return client
  }

  /** Disconnects the created client. */
  end (): void {
    void this.#made?.disconnect()
    this.#made = undefined
  }
}

/** Connects a client that the application does not own. The `onError` of its options gets a failure. */
export async function connectOwn (client: LiveClient, options: DatasoleClientOptions): Promise<void> {
  // eslint-disable-next-line no-console -- the client's default, too
  const { onError = console.error } = options
  try {
    await client.connect()
  } catch (error) {
    if ((error as DatasoleError).code !== 'DISCONNECTED') onError(error)
  }
}
