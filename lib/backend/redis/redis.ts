import { DatasoleError, coded, invalidArgument } from '../../protocol/errors.js'
import { stringify } from '../../protocol/json.js'
import type { RateLimitResult, RateLimitRule } from '../../protocol/sliding-window.js'
import type { Unsubscribe } from '../../protocol/unsubscribe.js'
import type { BackendLog, CommitRequest, CommitResult, KeyRecord, LogEntry, Position, StateBackend } from '../backend.js'
import { encodeValue } from '../notice.js'
import { type RedisBackendOptions, type RedisSettings, checkRedisOptions } from './redis-client.js'
import { RedisConnection, type Reply } from './redis-connection.js'
import { RedisNames, escapeKey } from './redis-names.js'
import { COMMIT, CONSUME, READ, TERM } from './redis-scripts.js'

/**
 * State and pub/sub in Redis 6.2 or newer (7 for a Cluster). All processes with the same server and prefix share it. A
 * commit is one call of a script, which also publishes it.
 *
 * Acknowledged commits are as safe as the persistence of Redis (`appendfsync`, replication). If Redis comes back
 * without its newest commits, nodes notice, and all clients converge on the remaining value. If Redis evicts a part of
 * a key, the whole key is lost: set `maxmemory-policy noeviction`.
 *
 * A call waits up to `commandTimeoutMs` while Redis is unavailable. Then it rejects with DatasoleError
 * `BACKEND_UNAVAILABLE`. It rejects with `BUSY` beyond `maxCommands`, and with `BACKEND_REFUSED` if Redis refuses it.
 *
 * @throws DatasoleError `INVALID_OPTION`, naming the option
 */
export class RedisBackend implements StateBackend {
  /** Implements `StateBackend.hasTopics`. */
  readonly hasTopics: boolean = true
  readonly #settings: RedisSettings
  readonly #connection: RedisConnection
  readonly #names: RedisNames
  readonly #term: number

  /** @param term @internal ms: see TERM */
  constructor (options: RedisBackendOptions = {}, term = TERM) {
    this.#term = term
    this.#settings = checkRedisOptions(options)
    this.#connection = new RedisConnection(options, this.#settings, () => import('ioredis'))
    this.#names = new RedisNames(this.#connection, this.#settings.prefix, async (key) => (await this.#read(key)).live)
  }

  /** @throws DatasoleError `BACKEND_UNAVAILABLE`, `BACKEND_REFUSED` (credentials, database) or `DRIVER_MISSING` */
  async connect (log?: BackendLog): Promise<void> {
    await this.#connection.connect(log)
  }

  /** Implements `StateBackend.close`: ends the connections after the last `close`. */
  async close (): Promise<void> {
    await this.#connection.close()
  }

  /** Implements `StateBackend.get`. */
  async get<T = unknown> (key: string): Promise<T | undefined> {
    const json = await this.#connection.repeat('get', this.#name('value', key)) as string | null
    return json === null ? undefined : JSON.parse(json) as T
  }

  /**
   * Implements `StateBackend.set`.
   * @throws TypeError `INVALID_JSON`, or `INVALID_ARGUMENT` for undefined, if JSON cannot hold the value
   */
  async set<T = unknown> (key: string, value: T): Promise<void> {
    const json = stringify(value)
    if (json === undefined) throw invalidArgument(`RedisBackend.set("${key}"): the value is not JSON`)
    await this.#connection.repeat('set', this.#name('value', key), json)
  }

  /** Implements `StateBackend.delete`. */
  async delete (key: string): Promise<boolean> {
    const [values] = await Promise.all([this.#connection.repeat('del', this.#name('value', key)), this.#connection.repeat('del', this.#name('bucket', key))])
    return values === 1
  }

  /** Implements `StateBackend.expire`. @param ttlMs ms */
  async expire (key: string, ttlMs: number): Promise<boolean> {
    return await this.#connection.repeat('pexpire', this.#name('value', key), Math.ceil(ttlMs)) === 1
  }

  /** Implements `StateBackend.subscribe`. */
  subscribe (key: string, handler: (key: string, value: unknown) => void, topic?: string): Unsubscribe & { ready: Promise<void> } {
    return this.#connection.channels.add(this.#channel(key, topic), key, handler)
  }

  /** Implements `StateBackend.publish`. */
  async publish (key: string, value: unknown, topic?: string): Promise<void> {
    const text = encodeValue(value)
    await this.#connection.policy.once(() => this.#connection.call(this.#connection.publishCommand, this.#channel(key, topic), text))
  }

  /** Implements `StateBackend.onDoubt`: calls `fn` after a reconnect. */
  onDoubt (fn: () => void): Unsubscribe {
    return this.#connection.onMessagesLost(fn)
  }

  /**
   * Implements `Journal.commit`.
   * @throws DatasoleError `OUTCOME_UNKNOWN` if an attempt may have taken effect
   */
  async commit (key: string, { base, commits, live = false, snapshot, reset, ttlMs }: CommitRequest): Promise<CommitResult> {
    if (live) await this.#names.add([key])
    const entries = commits.map(({ id, patches }) => `${id}\n${patches}`)
    /** When the first attempt was sent that may have taken effect; undefined if there was none. */
    let unsureSince: number | undefined
    const reply = await this.#connection.policy.repeat(async () => {
      const sentAt = performance.now()
      const sentBefore = unsureSince === undefined ? '0' : sentAt - unsureSince < this.#term ? '1' : '2'
      const args = [
        await this.#connection.historyId(), base.epoch, base.version, base.id, live ? '1' : '0', this.#channel(key), this.#connection.publishCommand,
        reset?.epoch ?? '', reset?.id ?? '', reset?.value ?? '', snapshot?.version ?? '', snapshot?.value ?? '', sentBefore, ttlMs === undefined ? '' : Math.ceil(ttlMs), this.#term
      ]
      return await this.#connection.run(COMMIT, this.#journalKeys(key), [...args, ...entries], () => { unsureSince ??= sentAt })
    }).catch((error: unknown) => { throw unsureSince === undefined ? error : outcomeUnknown(key, error) })
    if (reply[0] === 2) throw outcomeUnknown(key)
    if (reply[0] === 0) return { accepted: false, missed: recordOf(reply) }
    // a deletion by another node may have removed the name from the list since
    if (live) this.#names.add([key]).catch(() => {}) // most likely the name is listed already
    else if (reset !== undefined && reset.value === undefined) this.#names.remove([key]).catch(() => {}) // `liveKeys` filters the name
    return { accepted: true, epoch: String(reply[1]), version: Number(reply[2]), logBytes: Number(reply[3]) }
  }

  /** Implements `Journal.read`. */
  async read (key: string, have?: Position): Promise<KeyRecord> {
    return await this.#connection.policy.repeat(() => this.#read(key, have))
  }

  /** Reads once. */
  async #read (key: string, have?: Position): Promise<KeyRecord> {
    return recordOf(await this.#connection.run(READ, this.#journalKeys(key), [await this.#connection.historyId(), this.#term, have?.epoch ?? '', have?.version ?? 0, have?.id ?? '']))
  }

  /** Implements `Journal.liveKeys`. */
  async liveKeys (prefix = ''): Promise<string[]> {
    const live = []
    for await (const keys of this.#names.pages(prefix)) {
      const heads = await this.#connection.policy.repeat(() => Promise.all(keys.map((key) => this.#connection.call('hget', this.#name('head', key), 'live'))))
      const found = keys.filter((_, at) => heads[at] === '1')
      live.push(...found)
      // these keys are about to become live, or were deleted without being removed from the list
      if (found.length < keys.length) await this.#names.remove(keys.filter((key) => !found.includes(key)))
    }
    return live
  }

  /**
   * Implements `StateBackend.consume`. The request is sent only once, because a second attempt would count twice.
   * @throws RangeError `INVALID_ARGUMENT` if `cost` is over `rule.maxRequests`
   */
  async consume (bucket: string, rule: RateLimitRule, cost: number): Promise<RateLimitResult> {
    if (cost > rule.maxRequests) throw coded(new RangeError(`consume("${bucket}"): a cost of ${cost} is over maxRequests (${rule.maxRequests})`), 'INVALID_ARGUMENT')
    const [allowed, remaining, emptyIn, retryAfter] = await this.#connection.policy.once(() => this.#connection.run(CONSUME, [this.#name('bucket', bucket)], [rule.windowMs, rule.maxRequests, cost])) as number[]
    const result: RateLimitResult = { allowed: allowed === 1, remaining: remaining!, resetAt: Date.now() + emptyIn! }
    return result.allowed ? result : { ...result, retryAfter: retryAfter! }
  }

  /** The braces keep all data of a key on one node of a Cluster. */
  #name (kind: string, key: string): string {
    return `${this.#settings.prefix}${kind}:{${escapeKey(key)}}`
  }

  /**
   * Databases share channels, so the name contains the database, except for database 0, as in older versions. The
   * braces keep the topics of a key on one node of a Cluster, so that their messages stay in order.
   */
  #channel (key: string, topic?: string): string {
    const { database } = this.#settings
    const name = this.#name(database === 0 ? 'channel' : `channel:${database}`, key)
    return topic === undefined ? name : `${name}:${escapeKey(topic)}`
  }

  #journalKeys (key: string): string[] {
    return [this.#name('head', key), this.#name('log', key), this.#name('ids', key)]
  }
}

function outcomeUnknown (key: string, cause?: unknown): DatasoleError {
  return new DatasoleError('OUTCOME_UNKNOWN', `the commit to "${key}" may or may not have taken effect: read the key before you try again`, { cause })
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
