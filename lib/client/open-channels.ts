import type { Failure } from './link.js'
import type { ErrorMessage, StateAck } from '../protocol/messages.js'
import { Channel, type ChannelHost } from './channel.js'
import type { StateSubscriptions } from './state-subscriptions.js'

/** The channels that this client writes. */
export class OpenChannels {
  readonly #host: ChannelHost
  readonly #subscriptions: StateSubscriptions
  readonly #channels = new Map<string, { channel: Channel, end: () => void }>()
  /** Identifies this client's pushes, with a sequence number. It is secret, as others could push in its name. */
  readonly #client = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('')
  #seq = 0

  constructor (host: Omit<ChannelHost, 'nextPush' | 'ended'>, subscriptions: StateSubscriptions) {
    this.#host = {
      get isConnected () { return host.isConnected },
      nextId: () => host.nextId(),
      send: (opcode, id, json) => { host.send(opcode, id, json) },
      onError: (error) => { host.onError(error) },
      nextPush: () => ({ client: this.#client, seq: ++this.#seq }),
      ended: (key) => { this.#ended(key) }
    }
    this.#subscriptions = subscriptions
  }

  /** The channel of a key: the same one until it is closed and everything was sent. */
  open (key: string): Channel {
    let opened = this.#channels.get(key)
    if (opened === undefined) {
      const channel = new Channel(key, this.#host)
      this.#channels.set(key, opened = { channel, end: this.#subscriptions.watch(key, channel) })
    }
    opened.channel.reopen()
    return opened.channel
  }

  /** Runs before the subscriptions are renewed. */
  connected (): void {
    for (const { channel } of this.#channels.values()) channel.connected()
  }

  disconnected (): void {
    for (const { channel } of this.#channels.values()) channel.disconnected()
  }

  acked (correlationId: number, message: StateAck): void {
    this.#channels.get(message.key)?.channel.acked(correlationId, message)
  }

  /** @returns whether the error was about a push */
  refused (correlationId: number, error: Failure & Pick<ErrorMessage, 'retryAfter'>): boolean {
    if (correlationId === 0) return false
    for (const { channel } of this.#channels.values()) if (channel.refused(correlationId, error)) return true
    return false
  }

  #ended (key: string): void {
    this.#channels.get(key)?.end()
    this.#channels.delete(key)
  }
}
