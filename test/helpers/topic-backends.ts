import { setTimeout } from 'node:timers/promises'
import { type Unsubscribe, unsubscriber } from '../../lib/protocol/unsubscribe.js'
import { MemoryBackend } from '../../lib/backend/memory/memory.js'
import { RedisBackend, type RedisBackendOptions } from '../../plugins/server.js'

type Handler = (key: string, value: unknown) => void

/** Counts what arrives at a node, by kind of message, and the subscriptions to topics; they may be made late. */
export class CountingRedis extends RedisBackend {
  /** Messages of other nodes, by kind. */
  readonly heard: Record<string, number> = {}
  /** Topics by the number of their subscriptions, now, and how often each was subscribed. */
  readonly open = new Map<string, number>()
  readonly opened = new Map<string, number>()
  readonly #node: { id: string | undefined } = { id: undefined }
  readonly #delay: () => number

  /** @param delay ms before a topic is subscribed */
  constructor (options: RedisBackendOptions, delay = () => 0) {
    super(options)
    this.#delay = delay
  }

  override subscribe (key: string, handler: Handler, topic?: string): Unsubscribe & { ready: Promise<void> } {
    const counted: Handler = (channel, value) => {
      if (key === 'bus' && !(value as string).startsWith(this.#node.id ?? '-')) {
        const { kind } = JSON.parse((value as string).slice(36)) as { kind: string }
        this.heard[kind] = (this.heard[kind] ?? 0) + 1
      }
      handler(channel, value)
    }
    if (topic === undefined) return super.subscribe(key, counted)
    this.opened.set(topic, (this.opened.get(topic) ?? 0) + 1)
    this.open.set(topic, (this.open.get(topic) ?? 0) + 1)
    let end: (Unsubscribe & { ready: Promise<void> }) | undefined
    let isOver = false
    const subscribe = async (): Promise<void> => {
      if (isOver) return
      end = super.subscribe(key, counted, topic)
      await end.ready
    }
    const ms = this.#delay()
    const ready = ms === 0 ? subscribe() : setTimeout(ms).then(subscribe)
    ready.catch(() => {}) // for whoever awaits it
    return Object.assign(unsubscriber(() => {
      isOver = true
      const left = this.open.get(topic)! - 1
      if (left === 0) this.open.delete(topic)
      else this.open.set(topic, left)
      end?.()
    }), { ready })
  }

  override async publish (key: string, value: unknown, topic?: string): Promise<void> {
    if (key === 'bus') this.#node.id = (value as string).slice(0, 36)
    await super.publish(key, value, topic)
  }
}

/** Topics in memory. Their subscriptions wait to be let through or refused. */
export class HeldTopics extends MemoryBackend {
  readonly hasTopics = true
  isHolding = false
  /** Those that wait. */
  readonly waiting: Array<{ topic: string, admit: () => void, refuse: (error: Error) => void }> = []

  override subscribe (key: string, handler: Handler, topic?: string): Unsubscribe & { ready: Promise<void> } {
    let end: Unsubscribe | undefined
    const open = (): void => { end = super.subscribe(topic === undefined ? key : `${key}\n${topic}`, handler) }
    if (topic === undefined || !this.isHolding) {
      open()
      return Object.assign(unsubscriber(() => { end?.() }), { ready: Promise.resolve() })
    }
    const ready = new Promise<void>((resolve, reject) => {
      this.waiting.push({ topic, admit () { open(); resolve() }, refuse: reject })
    })
    ready.catch(() => {}) // for whoever awaits it
    return Object.assign(unsubscriber(() => { end?.() }), { ready })
  }

  override async publish (key: string, value: unknown, topic?: string): Promise<void> {
    await super.publish(topic === undefined ? key : `${key}\n${topic}`, value)
  }
}
