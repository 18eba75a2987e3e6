import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { decodeMessage } from './notice.js'

type Handler = (key: string, value: unknown) => void

interface Channel {
  key: string
  handlers: Set<Handler>
  ready: Promise<void>
}

/** How a store is told. Both are for a channel that has, or had, listeners on this node. */
export interface ChannelSource {
  /** Resolves once messages will arrive. */
  open (name: string): Promise<void>
  shut (name: string): void
}

/**
 * Who listens to what, by the name of the store's channel: one subscription for all listeners of a
 * key on this node.
 */
export class Channels {
  readonly #channels = new Map<string, Channel>()
  /** Those that could not be opened; when the store is back, they are subscribed with the others. */
  readonly #failed = new Set<string>()
  readonly #source: ChannelSource
  readonly #broken: (error: unknown) => void

  /** @param broken told of messages that could not be read: another version of datasole may have sent them, or anybody */
  constructor (source: ChannelSource, broken: (error: unknown) => void) {
    this.#source = source
    this.#broken = broken
  }

  get names (): string[] { return [...this.#channels.keys()] }

  has (name: string): boolean { return this.#channels.has(name) }

  /** @param count of the channels that the store says it delivers; those that it refused may be among them or not */
  isComplete (count: number): boolean {
    const { size } = this.#channels
    return count <= size && count >= size - this.#failed.size
  }

  add (name: string, key: string, handler: Handler): Unsubscribe & { ready: Promise<void> } {
    let channel = this.#channels.get(name)
    if (channel === undefined) this.#channels.set(name, channel = { key, handlers: new Set(), ready: this.#open(name) })
    else if (this.#failed.delete(name)) channel.ready = this.#open(name)
    // an identity of its own, so that one function can subscribe twice
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

  /** @param text as `notice.ts` has it */
  deliver (name: string, text: string): void {
    const channel = this.#channels.get(name)
    if (channel === undefined) return
    try {
      const message = decodeMessage(text)
      for (const handler of channel.handlers) {
        // notices are shared, and only read; values belong to who gets them
        handler(channel.key, 'notice' in message ? message.notice : 'text' in message ? message.text : JSON.parse(message.json))
      }
    } catch (error) {
      this.#broken(error)
    }
  }

  #open (name: string): Promise<void> {
    const ready = this.#source.open(name).then(() => {
      // ended meanwhile
      if (!this.#channels.has(name)) this.#source.shut(name)
    })
    // whoever awaits `ready` is told
    ready.catch(() => { if (this.#channels.has(name)) this.#failed.add(name) })
    return ready
  }
}
