import { stringify } from '../../protocol/json.js'
import type { Bus, BusHandlers } from '../bus/bus.js'
import type { ContractChecks } from '../contract/contract-checks.js'
import type { Settings } from '../config/settings.js'
import { type Hub, type MemberListener, type Selector, type Target, checkTarget, list, topicOf } from '../connection/hub.js'
import type { Metrics } from '../metrics/metrics.js'
import type { Part } from '../lifecycle/part.js'
import type { Scope } from '../scope/scope.js'
import type { Topics } from '../bus/topics.js'
import { type EncodedEvent, EventFrames, EventNumbers } from './event-frames.js'

/** Most topics of one broadcast. It is published once per topic, so one with more topics goes to all nodes. */
const MAX_TOPICS = 16

/**
 * Broadcasts events to clients on every node. A node subscribes to a topic for each user and tag that it has, and to
 * its own topic. So it does not receive broadcasts for others.
 */
export class Fanout implements Part, MemberListener {
  readonly #hub: Hub
  readonly #busOf: (scope: Scope) => Bus
  readonly #buses: () => Bus[]
  readonly #areAllCurrent: () => boolean
  #topics: Topics[] = []
  readonly #contract: ContractChecks
  readonly #compressionThreshold: number
  readonly #maxDepth: number
  readonly #metrics: Metrics
  readonly #numbers = new EventNumbers()

  /** @param areAllCurrent whether all nodes subscribe to topics */
  constructor (hub: Hub, busOf: (scope: Scope) => Bus, buses: () => Bus[], areAllCurrent: () => boolean, contract: ContractChecks, { compressionThreshold, maxJsonDepth }: Settings, metrics: Metrics) {
    this.#hub = hub
    this.#busOf = busOf
    this.#buses = buses
    this.#areAllCurrent = areAllCurrent
    this.#contract = contract
    this.#compressionThreshold = compressionThreshold
    this.#maxDepth = maxJsonDepth
    this.#metrics = metrics
  }

  readonly messages: Partial<BusHandlers> = {
    fanout: ({ to, except, ...event }) => { this.#deliver(event, { to, except }) }
  }

  async start (): Promise<void> {
    this.#topics = this.#buses().flatMap(({ topics }) => topics ?? [])
    if (this.#topics.length === 0) return
    const heard = this.#join(this.#hub.topic)
    this.#hub.follow(this)
    await heard
  }

  joined (kind: 'user' | 'tag', name: string): Promise<void> | undefined {
    return this.#join(`${kind}:${name}`)
  }

  left (kind: 'user' | 'tag', name: string): void {
    for (const topics of this.#topics) topics.leave(`${kind}:${name}`)
  }

  #join (topic: string): Promise<void> | undefined {
    if (this.#topics.length === 1) return this.#topics[0]!.join(topic)
    const waiting = this.#topics.flatMap((topics) => topics.join(topic) ?? [])
    return waiting.length === 0 ? undefined : Promise.all(waiting).then(() => {})
  }

  /** @param scope the scope whose backend carries the event to the other nodes */
  broadcast (event: string, data: unknown, target: Target = {}, scope: Scope): void {
    checkTarget(event, target)
    const json = stringify(this.#contract.toClient(event, data), this.#maxDepth)
    const message = { event, json, timestamp: Date.now() }
    const bus = this.#busOf(scope)
    bus.publish('fanout', { ...message, ...target }, bus.topics && target.to && this.#topicsOf(target.to))
    this.#deliver(message, target)
  }

  /** The topics of other nodes that may have a connection of the selector; undefined for all nodes. */
  #topicsOf (to: Selector): ReadonlySet<string> | undefined {
    if (!this.#areAllCurrent()) return undefined
    const topics = new Set<string>()
    for (const id of list(to.connection)) if (!this.#hub.has(id)) topics.add(topicOf(id))
    for (const user of list(to.user)) topics.add(`user:${user}`)
    for (const tag of list(to.tag)) topics.add(`tag:${tag}`)
    return topics.size > MAX_TOPICS ? undefined : topics
  }

  #deliver (event: EncodedEvent, target: Target): void {
    const began = this.#metrics.begin()
    const frames = new EventFrames(event, this.#numbers, this.#compressionThreshold)
    for (const connection of this.#hub.select(target)) connection.send(frames.for(connection))
    this.#metrics.endFanout('event', began)
  }
}
