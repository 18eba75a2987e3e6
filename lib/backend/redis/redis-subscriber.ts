import { setImmediate, setTimeout } from 'node:timers/promises'
import type { RetryPolicy } from '../retry-policy.js'
import { type Channels } from '../listeners.js'
import type { RedisClient } from './redis-client.js'
import { nameOnEach } from '../redis-slots.js'

/** ms between checks of the connection, which detect a half-open one. */
const PROBE_INTERVAL = 1500

/** ms before missing channels are counted a second time. Only then the client is replaced. */
const SECOND_LOOK = 300

/** ms that a new client may take to subscribe to every channel. */
const START_TIMEOUT = 30_000

/** Channels per command. */
const CHUNK = 500

/** Channels that one command subscribes or unsubscribes. */
interface Batch { isOpening: boolean, names: string[], done: Promise<void> }

/**
 * The connection for subscriptions. In a Cluster it is one connection to each master, with sharded pub/sub, so that a
 * message goes only to the node of its key.
 *
 * A client may be wrong about its subscriptions: a Cluster client moves them after a failover, and does not report a
 * refusal. UNSUBSCRIBE replies with the number of channels of a connection, even for a channel that it never had. If
 * channels are missing, a new client replaces this one.
 */
export class RedisSubscriber {
  readonly channels: Channels
  readonly #make: () => RedisClient
  readonly #policy: RetryPolicy
  readonly #restored: () => void
  #client: RedisClient
  /** The client that is about to replace `#client`. */
  #next: RedisClient | undefined
  #probing: NodeJS.Timeout | undefined
  #isChecking = false
  #isClosed = false
  /** Commands in progress, and changes so far. A count of channels is invalid if channels have changed meanwhile. */
  #pending = 0
  #changes = 0
  /** The last command of this turn of the event loop. Channels are added to it until the turn ends. */
  #batch: Batch | undefined

  /**
   * @param make creates a client without connecting it
   * @param restored called after every channel was subscribed again, because messages may have been lost
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

  /** Channels that are subscribed by one command share one promise. */
  open (name: string): Promise<void> {
    return this.#change(true, name)
  }

  shut (name: string): void {
    this.#change(false, name).catch(() => {
      // without a connection there is no subscription to end
    })
  }

  close (): void {
    this.#isClosed = true
    clearInterval(this.#probing)
    this.#client.disconnect()
    this.#next?.disconnect()
  }

  /** Connects a client, which replaces the present one when every channel is subscribed. */
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
      if (client === this.#client) this.#policy.down('subscriber', new Error('the subscriber connection was closed'))
    })
  }

  /** @param client a connected client, so that later channels are subscribed on it as well */
  async #subscribeAll (client: RedisClient): Promise<void> {
    const { names } = this.channels
    for (let i = 0; i < names.length; i += CHUNK) {
      const chunk = names.slice(i, i + CHUNK).filter((name) => this.channels.has(name))
      // in a Cluster all channels of one command must be in one slot
      if (client.isCluster === true) await Promise.all(chunk.map((name) => client.call(subscribe(client), name)))
      else if (chunk.length > 0) await client.call(subscribe(client), ...chunk)
    }
  }

  /** Subscribes again after a reconnect. A Cluster client has already tried that itself. */
  async #restore (client: RedisClient): Promise<void> {
    if (client !== this.#client) return
    try {
      if (client.isCluster !== true) await this.#subscribeAll(client)
      else if (!await this.#isComplete(client)) return await this.#check()
      this.#policy.up('subscriber')
      this.#restored()
    } catch {
      // the connection is lost again: ioredis reconnects, or the next check replaces it
    }
  }

  /** Replaces the client if channels are missing twice in a row. */
  async #check (): Promise<void> {
    if (this.#isChecking) return
    this.#isChecking = true
    try {
      const client = this.#client
      // ioredis reopens a lost connection itself
      for (let looks = 0; looks < 2; looks++) {
        if (looks > 0) await setTimeout(SECOND_LOOK, undefined, { ref: false })
        if (client.status !== 'ready' || await this.#isComplete(client).catch(() => false)) return
      }
      await this.#replace()
      this.#policy.up('subscriber')
      this.#restored()
    } catch {
      // ioredis replaces a connection that does not answer; the next check counts the channels
    } finally {
      this.#isChecking = false
    }
  }

  async #replace (): Promise<void> {
    if (this.#isClosed) return
    const ended = new AbortController()
    const client = this.#next = this.#make()
    try {
      const late = setTimeout(START_TIMEOUT, undefined, { ref: false, signal: ended.signal }).then(() => { throw new Error('the subscriber connection did not start in time') })
      await Promise.race([this.#start(client), late])
    } catch (error) {
      client.disconnect()
      throw error
    } finally {
      ended.abort()
      this.#next = undefined
    }
  }

  /** Compares the number of channels. To get it, unsubscribes each connection from a channel that it never had. */
  async #isComplete (client: RedisClient): Promise<boolean> {
    const changes = this.#changes
    const isStill = this.#pending === 0
    const names = client.isCluster === true ? nameOnEach(client.slots!) : ['']
    const counts = await Promise.all(names.map((name) => client.call(unsubscribe(client), `none:${name}`)))
    if (!isStill || changes !== this.#changes) return true // the counts are invalid
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
    // if this fails, the next check notices
    if (this.#next?.status === 'ready') this.#next.call(command, ...names).catch(() => {})
    await client.call(command, ...names)
  }
}

/** The part of a name that determines its slot. Every name has one. */
function tagOf (name: string): string {
  return name.slice(name.indexOf('{'), name.indexOf('}'))
}

function subscribe (client: RedisClient): string { return client.isCluster === true ? 'ssubscribe' : 'subscribe' }

function unsubscribe (client: RedisClient): string { return client.isCluster === true ? 'sunsubscribe' : 'unsubscribe' }
