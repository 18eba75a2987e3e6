import { setTimeout } from 'node:timers/promises'
import { messageOf } from '../../protocol/errors.js'
import type { RetryPolicy } from '../retry-policy.js'
import { type Channels } from '../listeners.js'
import type { PostgresClient } from './postgres-options.js'

/** ms between probes, and ms for their answers. Probes detect a half-open connection. */
const PROBE_INTERVAL = 1500
const PROBE_TIMEOUT = 2500

/** ms between attempts to reconnect. The delay doubles up to `LONGEST_WAIT`. */
const FIRST_WAIT = 25
const LONGEST_WAIT = 2000

/** Channels per query. */
const CHUNK = 500

export interface ListenerHost {
  open (): PostgresClient
  /** Reads a message that was too long for its notification; undefined if it has been removed. */
  fetch (id: string): Promise<string | undefined>
  /** Called when the connection is lost. Others may be lost, too. */
  connectionLost (): void
  /** Called when messages may have been lost and every channel is subscribed again. */
  messagesLost (): void
}

/** The connection for notifications. It does not belong to the pool, which would give it to queries. */
export class PostgresListener {
  readonly channels: Channels
  readonly #host: ListenerHost
  readonly #policy: RetryPolicy
  /** The connection; undefined until every channel is subscribed. */
  #client: PostgresClient | undefined
  /** The connection that is about to become `#client`. */
  #opening: PostgresClient | undefined
  #turn: Promise<void> = Promise.resolve()
  readonly #ended = new AbortController()
  #probing: NodeJS.Timeout | undefined
  /** By channel: deliveries that wait for an earlier message to be fetched. */
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

  /** @param name only letters, digits and underscores */
  async open (name: string): Promise<void> {
    await this.#policy.repeat(() => this.#query(`LISTEN ${name}`))
  }

  shut (name: string): void {
    this.#query(`UNLISTEN ${name}`).catch(() => {
      // a lost connection has no subscriptions
    })
  }

  /** @param late resolves when a graceful close has taken too long */
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
    client.on('end', () => { this.#lost(client, new Error('the LISTEN connection was closed')) })
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

  /** Sends queries one after the other, because pg deprecates the queue in its client. */
  #query (text: string): Promise<void> {
    const turn = this.#turn.then(async () => {
      if (this.#client === undefined) throw new Error('the LISTEN connection is closed')
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
        // the loss has been logged; the next attempt follows
      }
    }
  }

  /** Delivers messages in the order of publication, even if one of them has to be fetched. */
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
      if (text === undefined) throw new Error('the message has been removed')
      return text
    } catch (error) {
      if (this.#ended.signal.aborted) return undefined
      this.#policy.log?.error({ err: error }, `a message could not be fetched: ${messageOf(error)}`)
      this.#host.messagesLost()
      return undefined
    }
  }
}
