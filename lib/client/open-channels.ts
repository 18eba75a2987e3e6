import type { DatasoleContract, StateAt, StateName } from '../protocol/contract.js'
import type { ErrorMessage, StateAck } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { Channel, type ChannelHost } from './channel.js'
import { type ClientHost, FEATURES, type Feature } from './feature.js'
import type { Failure } from './link.js'
import type { LiveClient } from './live-client.js'
import type { StateSubscriptions } from './state-subscriptions.js'

/**
 * Opens a sync channel. Changes apply locally at once, are sent when the client is connected, and take effect exactly
 * once.
 * @param client a `LiveClient`, or a `DatasoleClient`
 * @param key the key of the channel
 * @returns the same channel for the same key, until it is closed
 */
export function channel<C extends DatasoleContract, K extends StateName<C>> (client: LiveClient<C>, key: K): Channel<StateAt<C, K>> {
  return client[FEATURES].of(makeChannels).open(key) as Channel<StateAt<C, K>>
}

const makeChannels = (host: ClientHost): OpenChannels => new OpenChannels(host)

/** The channels that this client writes. */
class OpenChannels implements Feature {
  readonly #host: ChannelHost
  readonly #subscriptions: StateSubscriptions
  readonly #channels = new Map<string, { channel: Channel, end: () => void }>()
  /** With a sequence number, it identifies this client's pushes. It is secret, so that others cannot push in its name. */
  readonly #client = Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join('')
  #seq = 0

  constructor (host: ClientHost) {
    this.#host = {
      get isConnected () { return host.isConnected },
      nextId: () => host.nextId(),
      send: (opcode, id, json) => { host.sendJson(opcode, id, json) },
      onError: (error) => { host.onError(error) },
      nextPush: () => ({ client: this.#client, seq: ++this.#seq }),
      ended: (key) => { this.#ended(key) }
    }
    this.#subscriptions = host.subscriptions
  }

  /** The channel of a key. It stays the same until it is closed and nothing is left to send. */
  open (key: string): Channel {
    let opened = this.#channels.get(key)
    if (opened === undefined) {
      const channel = new Channel(key, this.#host)
      this.#channels.set(key, opened = { channel, end: this.#subscriptions.watch(key, channel) })
    }
    opened.channel.reopen()
    return opened.channel
  }

  connected (): void {
    for (const { channel } of this.#channels.values()) channel.connected()
  }

  disconnected (): void {
    for (const { channel } of this.#channels.values()) channel.disconnected()
  }

  receive (opcode: number, correlationId: number, payload: unknown): boolean {
    if (opcode !== Opcode.STATE_ACK) return false
    const message = payload as StateAck
    this.#channels.get(message.key)?.channel.acked(correlationId, message)
    return true
  }

  unsent (correlationId: number, failure: Failure): boolean { return this.refused(correlationId, failure) }

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
