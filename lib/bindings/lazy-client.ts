import type { DatasoleClientOptions } from '../client/client-options.js'
import { LiveClient } from '../client/live-client.js'
import { DatasoleError } from '../protocol/errors.js'

/** Whether this is a server that renders: it follows nothing, and shows `initial`. */
export const isServer = (): boolean => (globalThis as { document?: unknown }).document === undefined

/** The client of an application: that which it gave, else one that is made and connected at the first use. */
export class LazyClient {
  readonly #given: LiveClient | undefined
  readonly #options: DatasoleClientOptions
  #made: LiveClient | undefined

  constructor (given: LiveClient | undefined, options: DatasoleClientOptions = {}) {
    this.#given = given
    this.#options = options
  }

  /** @throws DatasoleError `NO_CLIENT` on a server that renders, if none was given */
  readonly get = (): LiveClient => {
    if (this.#given !== undefined) return this.#given
    if (this.#made !== undefined) return this.#made
    if (isServer()) throw new DatasoleError('NO_CLIENT', 'there is no client while a server renders: pass the values as `initial`')
    const client = this.#made = new LiveClient(this.#options)
    // after the first render, which shows what a server rendered
    queueMicrotask(() => { if (this.#made === client) void connectOwn(client, this.#options) })
    return client
  }

  /** Disconnects the client that was made. */
  end (): void {
    void this.#made?.disconnect()
    this.#made = undefined
  }
}

/** Connects a client that the application does not see. Its failure goes to the `onError` of its options. */
export async function connectOwn (client: LiveClient, options: DatasoleClientOptions): Promise<void> {
  // eslint-disable-next-line no-console -- as the client does
  const { onError = console.error } = options
  try {
    await client.connect()
  } catch (error) {
    if ((error as DatasoleError).code !== 'DISCONNECTED') onError(error)
  }
}
