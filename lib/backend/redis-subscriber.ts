import type { Calls } from './calls.js'
import { type Channels } from './channels.js'
import type { RedisClient } from './redis-client.js'

/** ms between questions to a connection that otherwise only listens, so that a half-open one is noticed. */
const PROBE_INTERVAL = 1500

/** Channels of a Cluster that are asked about at once. */
const MAX_PROBES = 100

/** Channels that are subscribed by one command. */
const CHUNK = 500

/**
 * The connection that listens. In a Cluster it is one to each node, with sharded pub/sub, so that a
 * message goes only where its key lives.
 */
export class RedisSubscriber {
  readonly channels: Channels
  readonly #client: RedisClient
  readonly #calls: Calls
  readonly #restored: () => void
  readonly #isCluster: boolean
  #probing: NodeJS.Timeout | undefined
  #probed = 0

  /** @param restored called when every channel is subscribed again: messages may have been lost */
  constructor (client: RedisClient, calls: Calls, channels: Channels, restored: () => void) {
    this.#client = client
    this.#calls = calls
    this.channels = channels
    this.#restored = restored
    this.#isCluster = client.isCluster === true
  }

  async connect (): Promise<void> {
    const client = this.#client
    client.on(this.#isCluster ? 'smessage' : 'message', (channel: string, text: string) => { this.channels.deliver(channel, text) })
    await client.connect()
    await this.#restore()
    const restore = (): void => {
      this.#restore().then(() => {
        this.#calls.up('subscriber')
        this.#restored()
      }, () => {
        // the connection is gone again, or will be: it is opened once more
      })
    }
    client.on(this.#isCluster ? 'subscribersReady' : 'ready', restore)
    client.on('close', () => { this.#calls.down('subscriber', new Error('the connection that listens was closed')) })
    this.#probing = setInterval(() => {
      this.#probe().catch(() => {
        // the client closes a connection that does not answer, and opens another
      })
    }, PROBE_INTERVAL)
    this.#probing.unref()
  }

  async open (name: string): Promise<void> {
    await this.#calls.repeat(() => this.#client.call(this.#isCluster ? 'ssubscribe' : 'subscribe', name))
  }

  shut (name: string): void {
    this.#client.call(this.#isCluster ? 'sunsubscribe' : 'unsubscribe', name).catch(() => {
      // no connection, no subscription
    })
  }

  close (): void {
    clearInterval(this.#probing)
    this.#client.disconnect()
  }

  async #restore (): Promise<void> {
    const { names } = this.channels
    // a Cluster client does it by itself; what it sent is in effect when it has answered a question
    if (this.#isCluster) return await this.#probe()
    for (let i = 0; i < names.length; i += CHUNK) await this.#client.call('subscribe', ...names.slice(i, i + CHUNK))
  }

  /** Asks something that changes nothing; in a Cluster of a part of the channels, in turn. */
  async #probe (): Promise<void> {
    if (!this.#isCluster) {
      await this.#client.call('ping')
      return
    }
    const { names } = this.channels
    const asked = Array.from({ length: Math.min(names.length, MAX_PROBES) }, () => names[this.#probed++ % names.length]!)
    await Promise.all(asked.map((name) => this.#client.call('sunsubscribe', `${name}:none`)))
  }
}
