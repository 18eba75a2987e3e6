import { randomUUID } from 'node:crypto'
import { DatasoleError, coded, invalidArgument, messageOf } from '../protocol/errors.js'
import type { RateLimitResult, RateLimitRule } from '../protocol/sliding-window.js'
import type { BackendLog, CommitRequest, CommitResult, KeyRecord, LogEntry, Position, StateBackend, Unsubscribe } from './backend.js'
import { Calls } from './calls.js'
import { Channels } from './channels.js'
import { encodeMessage } from './notice.js'
import { hidePassword } from './options.js'
import { type RedisBackendOptions, type RedisClient, checkRedisOptions, openClient } from './redis-client.js'
import { COMMIT, CONSUME, READ, type Script } from './redis-scripts.js'
import { RedisSubscriber } from './redis-subscriber.js'

type Reply = Array<string | number>

/** ms that a graceful end may take. */
const QUIT_TIMEOUT = 1000

/** The answer to SELECT. */
const WRONG_DATABASE = /^ERR (DB index|invalid DB)/

/** Answers by which Redis says that it cannot just now. */
const NOT_NOW = /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|UNKILLABLE) /

/**
 * State and pub/sub in Redis 6.2 or newer (7 for a Cluster), shared by every process that names the same
 * server and prefix. A commit is one call of a script, which also publishes it.
 *
 * What Redis has acknowledged is as safe as its persistence makes it (`appendfsync`, replication): where
 * it comes back without its newest commits, nodes notice and all clients converge on what is left.
 *
 * @throws DatasoleError `INVALID_OPTION`, naming the option
 */
export class RedisBackend implements StateBackend {
  readonly #options: RedisBackendOptions
  readonly #settings: ReturnType<typeof checkRedisOptions>
  readonly #calls: Calls
  readonly #channels: Channels
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

  constructor (options: RedisBackendOptions = {}) {
    this.#options = options
    this.#settings = checkRedisOptions(options)
    this.#calls = new Calls('Redis', this.#settings, isFault)
    this.#connected = new Promise((resolve) => { this.#onConnected = resolve })
    this.#channels = new Channels({
      open: async (name) => { await (this.#subscriber === undefined ? this.#connected : this.#subscriber.open(name)) },
      shut: (name) => { this.#subscriber?.shut(name) }
    })
  }

  /** @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED` (credentials, database) or `DRIVER_MISSING` */
  async connect (log?: BackendLog): Promise<void> {
    this.#calls.log ??= log
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
    this.#calls.end()
    await this.#disconnect()
  }

  async get<T = unknown> (key: string): Promise<T | undefined> {
    const json = await this.#repeat('get', this.#name('value', key)) as string | null
    return json === null ? undefined : JSON.parse(json) as T
  }

  async set<T = unknown> (key: string, value: T): Promise<void> {
    const json = JSON.stringify(value) as string | undefined
    if (json === undefined) throw invalidArgument(`RedisBackend.set("${key}"): the value is not JSON`)
    await this.#repeat('set', this.#name('value', key), json)
  }

  async delete (key: string): Promise<boolean> {
    const [values] = await Promise.all([this.#repeat('del', this.#name('value', key)), this.#repeat('del', this.#name('bucket', key))])
    return values === 1
  }

  async expire (key: string, ttlMs: number): Promise<boolean> {
    return await this.#repeat('pexpire', this.#name('value', key), Math.ceil(ttlMs)) === 1
  }

  subscribe (key: string, handler: (key: string, value: unknown) => void): Unsubscribe {
    return this.#channels.add(this.#name('channel', key), key, handler)
  }

  async publish (key: string, value: unknown): Promise<void> {
    const text = encodeMessage(value)
    await this.#calls.once(() => this.#open.call(this.#publishCommand, this.#name('channel', key), text))
  }

  onDoubt (fn: () => void): Unsubscribe {
    const own = (): void => { fn() }
    this.#doubters.add(own)
    return () => { this.#doubters.delete(own) }
  }

  async commit (key: string, { base, commits, live = false, snapshot, reset }: CommitRequest): Promise<CommitResult> {
    if (live) await this.#repeat('sadd', this.#liveKeys, escapeKey(key))
    const entries = commits.map(({ id, patches }) => `${id}\n${patches}`)
    let isRepeated = false
    const reply = await this.#calls.repeat(async () => {
      const args = [
        await this.#historyId(), base.epoch, base.version, base.id, live ? '1' : '0', this.#name('channel', key), this.#publishCommand,
        reset?.epoch ?? '', reset?.id ?? '', reset?.value ?? '', snapshot?.version ?? '', snapshot?.value ?? '', isRepeated ? '1' : '0'
      ]
      isRepeated = true
      return await this.#run(COMMIT, this.#journalKeys(key), [...args, ...entries])
    }).catch((error: unknown) => { throw isRepeated && isUnavailable(error) ? outcomeUnknown(key, error) : error })
    if (reply[0] === 2) throw outcomeUnknown(key)
    if (reply[0] === 0) return { accepted: false, missed: recordOf(reply) }
    return { accepted: true, epoch: String(reply[1]), version: Number(reply[2]), logBytes: Number(reply[3]) }
  }

  async read (key: string, have?: Position): Promise<KeyRecord> {
    return recordOf(await this.#calls.repeat(async () =>
      await this.#run(READ, this.#journalKeys(key), [await this.#historyId(), have?.epoch ?? '', have?.version ?? 0, have?.id ?? ''])))
  }

  async liveKeys (): Promise<string[]> {
    // every key that ever was live: those that were deleted since are left out
    const names = await this.#repeat('smembers', this.#liveKeys) as string[]
    const keys = names.map(unescapeKey)
    const isLive = await Promise.all(keys.map((key) => this.#repeat('hget', this.#name('head', key), 'live')))
    return keys.filter((_, i) => isLive[i] === '1')
  }

  /** Not repeated where the answer was lost: what was counted would count twice. */
  async consume (bucket: string, rule: RateLimitRule, cost: number): Promise<RateLimitResult> {
    if (cost > rule.maxRequests) throw coded(new RangeError(`consume("${bucket}"): a cost of ${cost} never fits into ${rule.maxRequests}`), 'INVALID_ARGUMENT')
    const [allowed, remaining, emptyIn, retryAfter] = await this.#calls.once(() => this.#run(CONSUME, [this.#name('bucket', bucket)], [rule.windowMs, rule.maxRequests, cost])) as number[]
    const result: RateLimitResult = { allowed: allowed === 1, remaining: remaining!, resetAt: Date.now() + emptyIn! }
    return result.allowed ? result : { ...result, retryAfter: retryAfter! }
  }

  get #open (): RedisClient {
    if (this.#client === undefined) throw new DatasoleError('NOT_STARTED', 'RedisBackend is not connected yet: await connect() (or ds.init()) first')
    return this.#client
  }

  get #publishCommand (): string { return this.#open.isCluster === true ? 'spublish' : 'publish' }

  get #liveKeys (): string { return `${this.#settings.prefix}live` }

  /** The braces keep what belongs to a key on one node of a Cluster. */
  #name (kind: string, key: string): string {
    return `${this.#settings.prefix}${kind}:{${escapeKey(key)}}`
  }

  #journalKeys (key: string): string[] {
    return [this.#name('head', key), this.#name('log', key), this.#name('ids', key)]
  }

  async #repeat (command: string, ...args: Array<string | number>): Promise<unknown> {
    return await this.#calls.repeat(() => this.#open.call(command, ...args))
  }

  async #run ({ lua, sha, keys }: Script, names: string[], args: Array<string | number>): Promise<Reply> {
    const client = this.#open
    try {
      return await client.call('evalsha', sha, keys, ...names, ...args) as Reply
    } catch (error) {
      if (!messageOf(error).startsWith('NOSCRIPT')) throw error
      return await client.call('eval', lua, keys, ...names, ...args) as Reply
    }
  }

  /** The epoch of keys that were never written. */
  async #historyId (): Promise<string> {
    if (this.#history !== '') return this.#history
    const key = `${this.#settings.prefix}history`
    await this.#open.call('set', key, randomUUID(), 'NX')
    return (this.#history = await this.#open.call('get', key) as string)
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
      const subscriber = new RedisSubscriber(listening, this.#calls, this.#channels, () => { for (const fn of this.#doubters) fn() })
      this.#client = client
      this.#subscriber = subscriber
      await Promise.race([late, Promise.all([client.connect(), subscriber.connect()])])
      // the client goes on in database 0 where there is none of that number
      if (WRONG_DATABASE.test(messageOf(cause))) throw cause
      await Promise.race([late, this.#historyId()])
      const isAway = (): void => {
        this.#history = ''
        this.#calls.down('commands', cause ?? new Error('the connection was closed'))
      }
      for (const event of ['close', '-node']) client.on(event, isAway)
      for (const event of ['ready', '+node']) client.on(event, () => { this.#calls.up('commands') })
      this.#onConnected()
    } catch (error) {
      await this.#disconnect()
      throw this.#startError(error, cause)
    } finally {
      clearTimeout(timer)
    }
  }

  async #openClients (): Promise<[RedisClient, RedisClient]> {
    const driver = await import('ioredis').catch((cause: unknown) => {
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

function isUnavailable (error: unknown): boolean {
  return error instanceof DatasoleError && error.code !== 'BUSY'
}

function outcomeUnknown (key: string, cause?: unknown): DatasoleError {
  return new DatasoleError('OUTCOME_UNKNOWN', `whether the commit to "${key}" took effect is not known: read the key before it is tried again`, { cause })
}

function recordOf ([, epoch, version, live, id, lost, snapshotVersion, snapshot, ...entries]: Reply): KeyRecord {
  const record: KeyRecord = { epoch: String(epoch), version: Number(version), id: String(id), live: live === '1', commits: entries.map((entry) => entryOf(String(entry))) }
  if (snapshotVersion !== '') record.snapshot = { version: Number(snapshotVersion), value: String(snapshot) }
  if (lost === '1') record.isLost = true
  return record
}

function entryOf (text: string): LogEntry {
  const end = text.indexOf('\n')
  return { id: text.slice(0, end), patches: text.slice(end + 1) }
}

/** Braces would end the tag of a Cluster; lone surrogates do not survive UTF-8. */
function escapeKey (key: string): string {
  return key.replace(/[%{}]|\p{Cs}/gu, (char) => `%${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function unescapeKey (name: string): string {
  return name.replace(/%([0-9a-f]{4})/g, (_, code: string) => String.fromCharCode(parseInt(code, 16)))
}
