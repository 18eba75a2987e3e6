import { setTimeout } from 'node:timers/promises'
import { messageOf } from '../protocol/errors.js'
import type { Calls } from './calls.js'
import { type Channels } from './channels.js'
import type { PostgresClient } from './postgres-options.js'

/** ms between questions, and ms that an answer may take, so that a half-open connection is noticed. */
const PROBE_INTERVAL = 1500
const PROBE_TIMEOUT = 2500

/** ms between attempts to open it again: doubled each time. */
const FIRST_WAIT = 25
const LONGEST_WAIT = 2000

/** Channels that are listened to by one query. */
const CHUNK = 500

export interface ListenerHost {
  open (): PostgresClient
  /** A message that did not fit into its notification. */
  fetch (id: string): Promise<string>
  /** Every channel is listened to again: messages may have been lost. */
  restored (): void
}

/** The connection that listens: its own, as one of a pool would not keep what it listens to. */
export class PostgresListener {
  readonly channels: Channels
  readonly #host: ListenerHost
  readonly #calls: Calls
  #client: PostgresClient | undefined
  #isClosed = false
  #probing: NodeJS.Timeout | undefined
  /** What a channel delivers once a message before it has been fetched. */
  readonly #tails = new Map<string, Promise<void>>()

  constructor (channels: Channels, calls: Calls, host: ListenerHost) {
    this.channels = channels
    this.#calls = calls
    this.#host = host
  }

  async connect (): Promise<void> {
    await this.#connect()
    this.#probing = setInterval(() => { this.#probe() }, PROBE_INTERVAL)
    this.#probing.unref()
  }

  /** @param name of letters, digits and underscores only */
  async open (name: string): Promise<void> {
    await this.#calls.repeat(() => this.#query(`LISTEN ${name}`))
  }

  shut (name: string): void {
    this.#query(`UNLISTEN ${name}`).catch(() => {
      // no connection, nothing that listens
    })
  }

  async close (): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#probing)
    const client = this.#client
    this.#client = undefined
    if (client === undefined) return
    const late = setTimeout(PROBE_TIMEOUT, undefined, { ref: false }).then(() => { client.connection.stream.destroy() })
    await Promise.race([client.end(), late])
  }

  async #connect (): Promise<void> {
    const client = this.#host.open()
    client.on('error', (error: Error) => { this.#lost(client, error) })
    client.on('end', () => { this.#lost(client, new Error('the connection that listens was closed')) })
    client.on('notification', ({ channel, payload = '' }: { channel: string, payload?: string }) => { this.#take(channel, payload) })
    await client.connect()
    if (this.#isClosed) return await client.end()
    const { names } = this.channels
    for (let i = 0; i < names.length; i += CHUNK) {
      await client.query({ text: names.slice(i, i + CHUNK).map((name) => `LISTEN ${name}`).join('; '), query_timeout: PROBE_TIMEOUT })
    }
    this.#client = client
    // those that were added meanwhile
    for (const name of this.channels.names) if (!names.includes(name)) await this.#query(`LISTEN ${name}`)
  }

  async #query (text: string): Promise<void> {
    if (this.#client === undefined) throw new Error('the connection that listens is closed')
    await this.#client.query({ text, query_timeout: PROBE_TIMEOUT })
  }

  #probe (): void {
    const client = this.#client
    if (client === undefined) return
    this.#query('SELECT 1').catch((error: unknown) => { this.#lost(client, error) })
  }

  #lost (client: PostgresClient, error: unknown): void {
    if (client !== this.#client || this.#isClosed) return
    this.#client = undefined
    client.connection.stream.destroy()
    this.#calls.down('listener', error)
    void this.#reconnect()
  }

  async #reconnect (): Promise<void> {
    for (let wait = FIRST_WAIT; !this.#isClosed; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      await setTimeout(wait * (0.5 + Math.random() / 2), undefined, { ref: false })
      if (this.#isClosed) return
      try {
        await this.#connect()
        this.#calls.up('listener')
        return this.#host.restored()
      } catch {
        // said once, when it was lost; tried until it works
      }
    }
  }

  /** In the order of publication, also where a message has to be fetched. */
  #take (name: string, text: string): void {
    const tail = this.#tails.get(name)
    if (tail === undefined && !text.startsWith('m')) return this.channels.deliver(name, text)
    const next = (tail ?? Promise.resolve()).then(async () => {
      try {
        this.channels.deliver(name, text.startsWith('m') ? await this.#host.fetch(text.slice(1)) : text)
      } catch (error) {
        this.#calls.log?.error({ err: error }, `a message could not be fetched: ${messageOf(error)}`)
      }
      if (this.#tails.get(name) === next) this.#tails.delete(name)
    })
    this.#tails.set(name, next)
  }
}
