import { randomUUID } from 'node:crypto'
import { DatasoleError, messageOf } from '../../protocol/errors.js'
import { RetryPolicy } from '../retry-policy.js'
import { hidePassword } from '../backend-options.js'
import { type Ioredis, type RedisBackendOptions, type RedisClient, type RedisSettings, openClient } from './redis-client.js'
import type { Script } from './redis-scripts.js'
import { isNotNow, isRefusal, isReply, isWrongDatabase, mayHaveRun } from '../redis-replies.js'
import { RedisSubscriber } from './redis-subscriber.js'
import { StoreConnection } from '../store-connection.js'

export type Reply = Array<string | number>

/** A client for commands and one for subscriptions, from the first `connect` to the last `close`. */
export class RedisConnection extends StoreConnection {
  readonly #options: RedisBackendOptions
  readonly #settings: RedisSettings
  readonly #load: () => Promise<Ioredis>
  #client: RedisClient | undefined
  #subscriber: RedisSubscriber | undefined
  /** Empty until it is read. It is read again after each fault, because the store may have lost its data. */
  #history = ''
  /** The last error of a connection since it was ready: the reason why it was closed. */
  #cause: unknown

  constructor (options: RedisBackendOptions, settings: RedisSettings, load: () => Promise<Ioredis>) {
    super(new RetryPolicy('Redis', settings, isFault, (error) => this.#reason(error)), settings.connectTimeoutMs)
    this.#options = options
    this.#settings = settings
    this.#load = load
  }

  get publishCommand (): string { return this.#open.isCluster === true ? 'spublish' : 'publish' }

  /** Sends a command once. */
  async call (command: string, ...args: Array<string | number>): Promise<unknown> {
    return await this.#open.call(command, ...args)
  }

  /** Sends a command that may safely take effect twice. */
  async repeat (command: string, ...args: Array<string | number>): Promise<unknown> {
    return await this.policy.repeat(() => this.#open.call(command, ...args))
  }

  /**
   * Runs a script once.
   * @param unsure called if it fails but may have taken effect
   */
  async run ({ lua, sha, keys }: Script, names: string[], args: Array<string | number>, unsure?: () => void): Promise<Reply> {
    const client = this.#open
    try {
      try {
        return await client.call('evalsha', sha, keys, ...names, ...args) as Reply
      } catch (error) {
        if (!messageOf(error).startsWith('NOSCRIPT')) throw error
        return await client.call('eval', lua, keys, ...names, ...args) as Reply
      }
    } catch (error) {
      if (mayHaveRun(error)) unsure?.()
      throw error
    }
  }

  /** The id in the epoch of keys without a value. */
  async historyId (): Promise<string> {
    if (this.#history !== '') return this.#history
    const key = `${this.#settings.prefix}history`
    await this.#open.call('set', key, randomUUID(), 'NX')
    return (this.#history = await this.#open.call('get', key) as string)
  }

  get #open (): RedisClient {
    if (this.#client === undefined) throw new DatasoleError('NOT_STARTED', 'RedisBackend is not connected yet: await connect() (or ds.init()) first')
    return this.#client
  }

  protected async open (attempt: AbortSignal, listen: (listener: RedisSubscriber) => void): Promise<void> {
    const driver = await this.#load().catch((cause: unknown) => {
      throw new DatasoleError('DRIVER_MISSING', 'RedisBackend needs the package ioredis: npm install ioredis', { cause })
    })
    attempt.throwIfAborted()
    const client = this.#client = this.#newClient(driver)
    const subscriber = this.#subscriber = new RedisSubscriber(() => this.#newClient(driver), this.policy, this.channels, () => { this.messagesLost() })
    listen(subscriber)
    await Promise.all([client.connect(), subscriber.connect()])
    if (isWrongDatabase(this.#cause)) throw this.#cause
    await this.historyId()
    const isAway = (): void => {
      this.#history = ''
      this.policy.down('commands', this.#cause ?? new Error('the connection was closed'))
    }
    for (const event of ['close', '-node']) client.on(event, isAway)
    for (const event of ['ready', '+node']) client.on(event, () => { this.policy.up('commands') })
  }

  #newClient (driver: Ioredis): RedisClient {
    const client = openClient(driver, this.#options, this.#settings.connectTimeoutMs)
    // the error of a Cluster client itself only says that no node answers
    client.on('error', (error: unknown) => { this.#cause = (error as { lastNodeError?: unknown }).lastNodeError ?? error })
    client.on('ready', () => {
      // ioredis continues in database 0 if the database does not exist
      if (isWrongDatabase(this.#cause)) client.disconnect(true)
      else this.#cause = undefined
    })
    return client
  }

  protected async disconnect (ms: number): Promise<void> {
    const [client, subscriber] = [this.#client, this.#subscriber]
    this.#client = this.#subscriber = undefined
    subscriber?.close()
    if (client === undefined) return
    // QUIT waits for the replies of commands in flight
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      client.quit().catch(() => {}), // the connection is closed already
      new Promise((resolve) => { timer = setTimeout(resolve, ms) })
    ])
    clearTimeout(timer)
    client.disconnect()
  }

  protected explain (thrown: unknown): DatasoleError {
    if (thrown instanceof DatasoleError) return thrown
    const cause = this.#cause ?? thrown
    const { url, redis } = this.#options
    const option = redis === undefined ? `url (${hidePassword(url ?? 'redis://127.0.0.1:6379')})` : 'redis'
    return new DatasoleError(isRefusal(cause) ? 'BACKEND_REFUSED' : 'BACKEND_UNAVAILABLE', `RedisBackend: option ${option}: ${messageOf(cause)}`, { cause })
  }

  /** Replaces a connection error by the refusal of Redis that explains it. */
  #reason (error: unknown): unknown {
    return !isReply(error) && !(error instanceof DatasoleError) && isReply(this.#cause) && isRefusal(this.#cause) ? this.#cause : error
  }
}

/** Whether the error means that Redis is unavailable, not that it refused the command. */
function isFault (error: unknown): boolean {
  if (isReply(error)) return isNotNow(messageOf(error))
  return error instanceof Error && !(error instanceof DatasoleError) && !(error instanceof TypeError)
}
