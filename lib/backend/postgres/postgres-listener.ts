import { setTimeout } from 'node:timers/promises'
import { messageOf } from '../../protocol/errors.js'
import type { RetryPolicy } from '../retry-policy.js'
import { type Channels } from '../listeners.js'
import type { PostgresClient } from './postgres-options.js'

/** ms between probes, and ms for their answers: they find a half-open connection. */
const PROBE_INTERVAL = 1500
const PROBE_TIMEOUT = 2500

/** ms between attempts to reconnect: doubled each time. */
const FIRST_WAIT = 25
const LONGEST_WAIT = 2000

/** Channels in one query. */
const CHUNK = 500

export interface ListenerHost {
  open (): PostgresClient
  /** Reads a message that did not fit into its notification; undefined once it was removed. */
  fetch (id: string): Promise<string | undefined>
  /** The connection is lost; others may be too. */
  connectionLost (): void
  /** Messages may have been lost. Every channel is listened to again. */
  messagesLost (): void
}

/** The connection that listens. It is not one of the pool, which would share it. */
export class PostgresListener {
  readonly channels: Channels
  readonly #host: ListenerHost
  readonly #policy: RetryPolicy
  /** The connection, once it listens to every channel. */
  #client: PostgresClient | undefined
  /** The connection that is going to be `#client`. */
  #opening: PostgresClient | undefined
  #turn: Promise<void> = Promise.resolve()
  readonly #ended = new AbortController()
  #probing: NodeJS.Timeout | undefined
  /** By channel: messages that wait for an earlier one to be fetched. */
  readonly #tails = new Map<string, Promise<void>>()

  constructor (channels: Channels, policy: RetryPolicy, host: ListenerHost) {
    this.channels = channels
    this.#policy = policy
    this.#host = host
  }

  async connect (): Promise<void> {
    await this.#connect()
    this.#probing = setInterval(() => { this.#probe() }, PROBE_INTERVAL)
    this.#probing.unref()
  }

  /** @param name of letters, digits and underscores only */
  async open (name: string): Promise<void> {
    await this.#policy.repeat(() => this.#query(`LISTEN ${name}`))
  }

  shut (name: string): void {
    this.#query(`UNLISTEN ${name}`).catch(() => {
      // a lost connection listens to nothing
    })
  }

  /** @param late resolves when a graceful end has taken too long */
  async close (late: Promise<void>): Promise<void> {
    this.#ended.abort()
    clearInterval(this.#probing)
    this.#opening?.connection.stream.destroy()
    const client = this.#client
    this.#client = undefined
    if (client === undefined) return
    void late.then(() => { client.connection.stream.destroy() })
    await client.end()
  }

  async #connect (): Promise<void> {
    const client = this.#opening = this.#host.open()
    client.on('error', (error: Error) => { this.#lost(client, error) })
    client.on('end', () => { this.#lost(client, new Error('the connection that listens was closed')) })
    client.on('notification', ({ channel, payload = '' }: { channel: string, payload?: string }) => { this.#take(channel, payload) })
    try {
      await client.connect()
      const listening = new Set<string>()
      // channels may be added meanwhile
      for (let names = this.channels.names; names.length > 0; names = this.channels.names.filter((name) => !listening.has(name))) {
        for (let i = 0; i < names.length; i += CHUNK) {
          const chunk = names.slice(i, i + CHUNK)
          await client.query({ text: chunk.map((name) => `LISTEN ${name}`).join('; '), query_timeout: PROBE_TIMEOUT })
          for (const name of chunk) listening.add(name)
        }
      }
      this.#ended.signal.throwIfAborted()
      this.#client = client
    } catch (error) {
      client.connection.stream.destroy()
      throw error
    } finally {
      this.#opening = undefined
    }
  }

  /** Sends one query after the other: pg deprecates a queue in its client. */
  #query (text: string): Promise<void> {
    const turn = this.#turn.then(async () => {
      if (this.#client === undefined) throw new Error('the connection that listens is closed')
      await this.#client.query({ text, query_timeout: PROBE_TIMEOUT })
    })
    this.#turn = turn.catch(() => {}) // the caller gets the error
    return turn
  }

  #probe (): void {
    const client = this.#client
    if (client === undefined) return
    this.#query('SELECT 1').catch((error: unknown) => { this.#lost(client, error) })
  }

  #lost (client: PostgresClient, error: unknown): void {
    if (client !== this.#client) return
    this.#client = undefined
    client.connection.stream.destroy()
    this.#policy.down('listener', error)
    this.#host.connectionLost()
    this.#reconnect().catch(() => {
      // closed meanwhile
    })
  }

  async #reconnect (): Promise<void> {
    for (let wait = FIRST_WAIT; ; wait = Math.min(wait * 2, LONGEST_WAIT)) {
      await setTimeout(wait * (0.5 + Math.random() / 2), undefined, this.#ended)
      try {
        await this.#connect()
        this.#policy.up('listener')
        return this.#host.messagesLost()
      } catch {
        // the loss is logged already; the next attempt follows
      }
    }
  }

  /** Delivers in the order of publication, also if a message has to be fetched. */
  #take (name: string, text: string): void {
    const tail = this.#tails.get(name)
    if (tail === undefined && !text.startsWith('m')) return this.channels.deliver(name, text)
    const next = (tail ?? Promise.resolve()).then(async () => {
      const whole = text.startsWith('m') ? await this.#fetch(text.slice(1)) : text
      if (whole !== undefined) this.channels.deliver(name, whole)
      if (this.#tails.get(name) === next) this.#tails.delete(name)
    })
    this.#tails.set(name, next)
  }

  async #fetch (id: string): Promise<string | undefined> {
    try {
      const text = await this.#host.fetch(id)
      if (text === undefined) throw new Error('it has been removed')
      return text
    } catch (error) {
      if (this.#ended.signal.aborted) return undefined
      this.#policy.log?.error({ err: error }, `a message could not be fetched: ${messageOf(error)}`)
      this.#host.messagesLost()
      return undefined
    }
  }
}
