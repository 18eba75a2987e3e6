import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { decodeMessage } from './notice.js'

type Handler = (key: string, value: unknown) => void

interface Channel {
  key: string
  handlers: Set<Handler>
  ready: Promise<void>
}

/** Subscribes to channels of a store, and unsubscribes. */
export interface ChannelSource {
  /** Resolves when messages start to arrive. */
  open (name: string): Promise<void>
  shut (name: string): void
}

/** The subscriptions of this node, by channel of the store. All listeners of a key share one subscription. */
export class Channels {
  readonly #channels = new Map<string, Channel>()
  /** Channels whose subscription failed. They are subscribed again with all others when the store is back. */
  readonly #failed = new Set<string>()
  readonly #source: ChannelSource
  readonly #broken: (error: unknown) => void

  /** @param broken called for an invalid message, from another version of datasole or another program */
  constructor (source: ChannelSource, broken: (error: unknown) => void) {
    this.#source = source
    this.#broken = broken
  }

  get names (): string[] { return [...this.#channels.keys()] }

  has (name: string): boolean { return this.#channels.has(name) }

  /** @param count number of channels that the store delivers, with or without those whose subscription failed */
  isComplete (count: number): boolean {
    const { size } = this.#channels
    return count <= size && count >= size - this.#failed.size
  }

  add (name: string, key: string, handler: Handler): Unsubscribe & { ready: Promise<void> } {
    let channel = this.#channels.get(name)
    if (channel === undefined) this.#channels.set(name, channel = { key, handlers: new Set(), ready: this.#open(name) })
    else if (this.#failed.delete(name)) channel.ready = this.#open(name)
    // a new function each time, so that one handler can subscribe twice
    const own: Handler = (channelKey, value) => { handler(channelKey, value) }
    const { handlers, ready } = channel
    handlers.add(own)
    const end = unsubscriber(() => {
      handlers.delete(own)
      if (handlers.size > 0 || this.#channels.get(name) !== channel) return
      this.#channels.delete(name)
      this.#failed.delete(name)
      this.#source.shut(name)
    })
    return Object.assign(end, { ready })
  }

  /** @param text in the format of `notice.ts` */
  deliver (name: string, text: string): void {
    const channel = this.#channels.get(name)
    if (channel === undefined) return
    try {
      const message = decodeMessage(text)
      for (const handler of channel.handlers) {
        // handlers share a notice, which they only read; each gets its own copy of another value
        handler(channel.key, 'notice' in message ? message.notice : 'text' in message ? message.text : JSON.parse(message.json))
      }
    } catch (error) {
      this.#broken(error)
    }
  }

  #open (name: string): Promise<void> {
    const ready = this.#source.open(name)
    // the caller handles a rejection
    ready.then(() => {
      // the last listener has unsubscribed meanwhile
      if (!this.#channels.has(name)) this.#source.shut(name)
    }, () => { if (this.#channels.has(name)) this.#failed.add(name) })
    return ready
  }
}
