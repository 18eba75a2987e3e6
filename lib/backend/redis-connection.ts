import { randomUUID } from 'node:crypto'
import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { BackendLog, Unsubscribe } from './backend.js'
import { Calls } from './calls.js'
import { Channels } from './channels.js'
import { hidePassword } from './options.js'
import { type Ioredis, type RedisBackendOptions, type RedisClient, type RedisSettings, openClient } from './redis-client.js'
import type { Script } from './redis-scripts.js'
import { RedisSubscriber } from './redis-subscriber.js'

export type Reply = Array<string | number>

/** ms that a graceful end may take. */
const QUIT_TIMEOUT = 1000

/** The answer to SELECT. */
const WRONG_DATABASE = /^ERR (DB index|invalid DB)/

/** Answers by which Redis says that it cannot just now. */
const NOT_NOW = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNKILLABLE) /

/** The client that asks and the one that listens, from the first `connect` to the last `close`. */
export class RedisConnection {
  readonly calls: Calls
  readonly channels: Channels
  readonly #options: RedisBackendOptions
  readonly #settings: RedisSettings
  readonly #load: () => Promise<Ioredis>
  readonly #doubters = new Set<() => void>()
  /** What those who subscribe before there is a connection wait for. */
  readonly #connected: Promise<void>
  #onConnected = (): void => {}
  #client: RedisClient | undefined
  #subscriber: RedisSubscriber | undefined
  /** Empty until it is read, anew after each fault: the store may have come back without anything. */
  #history = ''
  #connecting: Promise<void> | undefined
  #users = 0

  constructor (options: RedisBackendOptions, settings: RedisSettings, load: () => Promise<Ioredis>) {
    this.#options = options
    this.#settings = settings
    this.#load = load
    this.calls = new Calls('Redis', settings, isFault)
    this.#connected = new Promise((resolve) => { this.#onConnected = resolve })
    this.channels = new Channels({
      open: async (name) => { await (this.#subscriber === undefined ? this.#connected : this.#subscriber.open(name)) },
      shut: (name) => { this.#subscriber?.shut(name) }
    })
  }

  get publishCommand (): string { return this.#open.isCluster === true ? 'spublish' : 'publish' }

  async connect (log: BackendLog | undefined): Promise<void> {
    this.calls.log ??= log
    this.#users++
    try {
      await (this.#connecting ??= this.#connect())
    } catch (error) {
      this.#users--
      this.#connecting = undefined
      throw error
    }
  }

  async close (): Promise<void> {
    if (--this.#users > 0) return
    this.calls.end()
    await this.#disconnect()
  }

  onDoubt (fn: () => void): Unsubscribe {
    const own = (): void => { fn() }
    this.#doubters.add(own)
    return () => { this.#doubters.delete(own) }
  }

  /** One attempt. */
  async call (command: string, ...args: Array<string | number>): Promise<unknown> {
    return await this.#open.call(command, ...args)
  }

  /** For what may be sent again. */
  async repeat (command: string, ...args: Array<string | number>): Promise<unknown> {
    return await this.calls.repeat(() => this.#open.call(command, ...args))
  }

  /** One attempt to run a script. */
  async run ({ lua, sha, keys }: Script, names: string[], args: Array<string | number>): Promise<Reply> {
    const client = this.#open
    try {
      return await client.call('evalsha', sha, keys, ...names, ...args) as Reply
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error
      return await client.call('eval', lua, keys, ...names, ...args) as Reply
    }
  }

  /** The epoch of keys that were never written. */
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

  async #connect (): Promise<void> {
    const { connectTimeoutMs } = this.#settings
    let cause: unknown
    const failed = (error: unknown): void => { cause = error }
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => { reject(new Error(`no answer within connectTimeoutMs (${connectTimeoutMs} ms)`)) }, connectTimeoutMs)
    })
    try {
      const [client, listening] = await this.#openClients()
      for (const each of [client, listening]) each.on('error', failed)
      const subscriber = new RedisSubscriber(listening, this.calls, this.channels, () => { for (const fn of this.#doubters) fn() })
      this.#client = client
      this.#subscriber = subscriber
      await Promise.race([late, Promise.all([client.connect(), subscriber.connect()])])
      // the client goes on in database 0 where there is none of that number
      if (WRONG_DATABASE.test(messageOf(cause))) throw cause
      await Promise.race([late, this.historyId()])
      const isAway = (): void => {
        this.#history = ''
        this.calls.down('commands', cause ?? new Error('the connection was closed'))
      }
      for (const event of ['close', '-node']) client.on(event, isAway)
      for (const event of ['ready', '+node']) client.on(event, () => { this.calls.up('commands') })
      this.#onConnected()
    } catch (error) {
      await this.#disconnect()
      throw this.#startError(error, cause)
    } finally {
      clearTimeout(timer)
    }
  }

  async #openClients (): Promise<[RedisClient, RedisClient]> {
    const driver = await this.#load().catch((cause: unknown) => {
      throw new DatasoleError('DRIVER_MISSING', 'RedisBackend needs the package ioredis: npm install ioredis', { cause })
    })
    const open = (): RedisClient => openClient(driver, this.#options, this.#settings.connectTimeoutMs)
    return [open(), open()]
  }

  async #disconnect (): Promise<void> {
    const [client, subscriber] = [this.#client, this.#subscriber]
    this.#client = this.#subscriber = undefined
    subscriber?.close()
    if (client === undefined) return
    // what was sent is answered first, if that does not take long
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      client.quit().catch(() => {}), // it is gone already
      new Promise((resolve) => { timer = setTimeout(resolve, QUIT_TIMEOUT) })
    ])
    clearTimeout(timer)
    client.disconnect()
  }

  #startError (thrown: unknown, cause: unknown): DatasoleError {
    if (thrown instanceof DatasoleError) return thrown
    // what the socket said tells more than that the connection was closed
    const reason = messageOf(cause ?? thrown)
    const { url, redis } = this.#options
    const option = redis === undefined ? `url (${hidePassword(url ?? 'redis://127.0.0.1:6379')})` : 'redis'
    const isRefused = /^(WRONGPASS|NOAUTH|NOPERM|ERR invalid password)/.test(reason) || WRONG_DATABASE.test(reason)
    return new DatasoleError(isRefused ? 'BACKEND_REFUSED' : 'BACKEND_UNAVAILABLE', `RedisBackend: option ${option}: ${reason}`, { cause: cause ?? thrown })
  }
}

/** Whether the store is away, and not of another opinion. */
function isFault (error: unknown): boolean {
  const { name } = error as Error
  return name === 'ReplyError' ? NOT_NOW.test(messageOf(error)) : error instanceof Error && !(error instanceof DatasoleError) && !(error instanceof TypeError)
}
