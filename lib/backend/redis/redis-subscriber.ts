import { setImmediate, setTimeout } from 'node:timers/promises'
import type { RetryPolicy } from '../retry-policy.js'
import { type Channels } from '../listeners.js'
import type { RedisClient } from './redis-client.js'
import { nameOnEach } from '../redis-slots.js'

/** ms between probes of the connection, which find a half-open one. */
const PROBE_INTERVAL = 1500

/** ms after which missing channels are counted again, before the client is replaced. */
const SECOND_LOOK = 300

/** ms that a new client may take to subscribe every channel. */
const START_TIMEOUT = 30_000

/** Channels that are subscribed at once. */
const CHUNK = 500

/** Channels that one command subscribes or unsubscribes. */
interface Batch { isOpening: boolean, names: string[], done: Promise<void> }

/**
 * The connection that listens. In a Cluster it is one connection to each master, with sharded pub/sub, so that a
 * message goes only to the node of its key.
 *
 * A client may be wrong about its subscriptions: a Cluster client moves them after a failover, and does not say if
 * that is refused. UNSUBSCRIBE replies with the number of channels of a connection, also for a channel that it never
 * had. If channels are missing, a new client replaces this one.
 */
export class RedisSubscriber {
  readonly channels: Channels
  readonly #make: () => RedisClient
  readonly #policy: RetryPolicy
  readonly #restored: () => void
  #client: RedisClient
  /** The client that is going to replace `#client`. */
  #next: RedisClient | undefined
  #probing: NodeJS.Timeout | undefined
  #isChecking = false
  #isClosed = false
  /** Subscriptions under way, and all so far. A count of channels is void if one has changed meanwhile. */
  #pending = 0
  #changes = 0
  /** The last command of this turn of the loop, which takes more channels until the turn ends. */
  #batch: Batch | undefined

  /**
   * @param make makes a client without connecting it
   * @param restored called when every channel is subscribed again: messages may have been lost
   */
  constructor (make: () => RedisClient, policy: RetryPolicy, channels: Channels, restored: () => void) {
    this.#make = make
    this.#client = make()
    this.#policy = policy
    this.channels = channels
    this.#restored = restored
  }

  async connect (): Promise<void> {
    await this.#start(this.#client)
    this.#probing = setInterval(() => { void this.#check() }, PROBE_INTERVAL)
    this.#probing.unref()
  }

  /** Channels that leave together get one promise. */
  open (name: string): Promise<void> {
    return this.#change(true, name)
  }

  shut (name: string): void {
    this.#change(false, name).catch(() => {
      // no connection, no subscription
    })
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#probing)
    this.#client.disconnect()
    this.#next?.disconnect()
  }

  /** Connects a client, which takes over once every channel is subscribed. */
  async #start (client: RedisClient): Promise<void> {
    client.on(client.isCluster === true ? 'smessage' : 'message', (channel: string, text: string) => {
      if (client === this.#client) this.channels.deliver(channel, text)
    })
    await client.connect()
    await this.#subscribeAll(client)
    const old = this.#client
    this.#client = client
    if (old !== client) old.disconnect()
    client.on(client.isCluster === true ? 'subscribersReady' : 'ready', () => { void this.#restore(client) })
    client.on('close', () => {
      if (client === this.#client) this.#policy.down('subscriber', new Error('the connection that listens was closed'))
    })
  }

  /** @param client connected, so that later channels are subscribed on it as well */
  async #subscribeAll (client: RedisClient): Promise<void> {
    const { names } = this.channels
    for (let i = 0; i < names.length; i += CHUNK) {
      const chunk = names.slice(i, i + CHUNK).filter((name) => this.channels.has(name))
      // in a Cluster the channels of one command must be of one slot
      if (client.isCluster === true) await Promise.all(chunk.map((name) => client.call(subscribe(client), name)))
      else if (chunk.length > 0) await client.call(subscribe(client), ...chunk)
    }
  }

  /** Subscribes again after a reconnect. A Cluster client has tried that by itself. */
  async #restore (client: RedisClient): Promise<void> {
    if (client !== this.#client) return
    try {
      if (client.isCluster !== true) await this.#subscribeAll(client)
      else if (!await this.#isComplete(client)) return await this.#check()
      this.#policy.up('subscriber')
      this.#restored()
    } catch {
      // the connection is gone again: ioredis opens it once more, or the next check replaces it
    }
  }

  /** Replaces the client if channels are missing twice in a row. */
  async #check (): Promise<void> {
    if (this.#isChecking) return
    this.#isChecking = true
    try {
      const client = this.#client
      // ioredis opens a lost connection by itself
      for (let looks = 0; looks < 2; looks++) {
        if (looks > 0) await setTimeout(SECOND_LOOK, undefined, { ref: false })
        if (client.status !== 'ready' || await this.#isComplete(client).catch(() => false)) return
      }
      await this.#replace()
      this.#policy.up('subscriber')
      this.#restored()
    } catch {
      // ioredis closes a connection that does not answer, and opens it again; the next check counts channels
    } finally {
      this.#isChecking = false
    }
  }

  async #replace (): Promise<void> {
    if (this.#isClosed) return
    const ended = new AbortController()
    const client = this.#next = this.#make()
    try {
      const late = setTimeout(START_TIMEOUT, undefined, { ref: false, signal: ended.signal }).then(() => { throw new Error('it takes too long') })
      await Promise.race([this.#start(client), late])
    } catch (error) {
      client.disconnect()
      throw error
    } finally {
      ended.abort()
      this.#next = undefined
    }
  }

  /** Unsubscribes each connection from a channel that it never had: the reply is the number of its channels. */
  async #isComplete (client: RedisClient): Promise<boolean> {
    const changes = this.#changes
    const isStill = this.#pending === 0
    const names = client.isCluster === true ? nameOnEach(client.slots!) : ['']
    const counts = await Promise.all(names.map((name) => client.call(unsubscribe(client), `none:${name}`)))
    if (!isStill || changes !== this.#changes) return true // the counts are void
    return this.channels.isComplete(counts.reduce<number>((sum, count) => sum + Number(count), 0))
  }

  #change (isOpening: boolean, name: string): Promise<void> {
    let batch = this.#batch
    if (batch === undefined || batch.isOpening !== isOpening || batch.names.length === CHUNK || (this.#client.isCluster === true && tagOf(batch.names[0]!) !== tagOf(name))) {
      const names: string[] = []
      this.#pending++
      const send = (): Promise<void> => this.#send(isOpening, names)
      const done = setImmediate().then(() => {
        if (this.#batch?.names === names) this.#batch = undefined
        return isOpening ? this.#policy.repeat(send) : send()
      }).finally(() => { this.#pending-- })
      this.#batch = batch = { isOpening, names, done }
    }
    this.#changes++
    batch.names.push(name)
    return batch.done
  }

  async #send (isOpening: boolean, names: string[]): Promise<void> {
    const client = this.#client
    const command = isOpening ? subscribe(client) : unsubscribe(client)
    // if it fails, the next check finds it
    if (this.#next?.status === 'ready') this.#next.call(command, ...names).catch(() => {})
    await client.call(command, ...names)
  }
}

/** The part of a name that decides on its slot: every name has one. */
function tagOf (name: string): string {
  return name.slice(name.indexOf('{'), name.indexOf('}'))
}

function subscribe (client: RedisClient): string { return client.isCluster === true ? 'ssubscribe' : 'subscribe' }

function unsubscribe (client: RedisClient): string { return client.isCluster === true ? 'sunsubscribe' : 'unsubscribe' }
