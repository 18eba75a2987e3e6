import { randomUUID } from 'node:crypto'
import type { BackendUnsubscribe, StateBackend } from '../../backend/backend.js'
import type { ServerEvent } from '../../protocol/messages.js'
import type { ProtocolVersion } from '../../protocol/opcodes.js'
import type { Transport } from '../context/connection-context.js'
import type { Selector } from '../connection/hub.js'
import type { Logger } from '../context/logger.js'
import { Topics } from './topics.js'

/** The messages between nodes, apart from commits. */
export interface BusMessages {
  /** An event of server code, for the handlers of every node. */
  event: ServerEvent & { traceparent?: string }
  /** A broadcast for clients of every node, or of nodes with a topic; `json` is its data, encoded by the sender. */
  fanout: { event: string, json: string | undefined, timestamp: number, to?: object, except?: object }
  /** A key became live. */
  live: { key: string }
  /** A key is not live any more. */
  gone: { key: string }
  /** A CRDT key was created. */
  crdt: { key: string }
  /** A CRDT key was deleted. */
  crdtGone: { key: string }
  disconnect: { userId: string, code: number, reason: string }
  /** A heartbeat of a node, or its end. `hasTopics` is absent on nodes of older versions, which do not use topics. */
  node: NodeCard & { isGone?: true, hasTopics?: true }
  /** A question to every node. Each node publishes its answer to `topic`, which the asking node is subscribed to. */
  ask: { node: string, id: number, question: Question, topic?: string | undefined }
  answer: { to: string, node: string, id: number, answer: Answer }
  /** A message of a node to itself, which tests the way through the backend. */
  probe: number
}

/** A process that shares the backend. */
export interface NodeCard {
  /** A new id for each start. */
  node: string
  /** The id of the process. */
  pid: number
  /** The name of its host. */
  host: string
  /** Unix time in ms */
  startedAt: number
}

/** A connection, as another node lists it. */
export interface ConnectionCard {
  /** The id of the connection. */
  connectionId: string
  /** The user of the auth result; absent without one. */
  userId: string | undefined
  /** The client's address. */
  remoteAddress: string
  /** Protocol version. */
  protocol: ProtocolVersion
  /** `http` for a request of `datasole/http`. */
  transport: Transport
  /** Unix time in ms */
  connectedAt: number
  /** The tags of the connection. */
  tags: string[]
  /** Keys that the client is subscribed to. */
  subscriptions: number
  /** Unsent bytes that wait for the client to read. */
  bufferedBytes: number
}

export type Question =
  | { kind: 'count', selector?: Selector }
  | { kind: 'list', selector?: Selector, limit: number }
  | { kind: 'disconnect', selector: Selector, code: number, reason: string }
  | { kind: 'plugin', plugin: string, asked: unknown }

/** `answered` is the answer of a plugin; absent on a node without that plugin. */
export interface Answer { count: number, connections?: ConnectionCard[], answered?: unknown }

/** A node's handler for each kind of message. */
export type BusHandlers = { [K in keyof BusMessages]: (message: BusMessages[K], bus: Bus) => void }

const CHANNEL = 'bus'

/** Number of senders whose last `copied` number is remembered. */
const MAX_SENDERS = 1000

interface Envelope {
  kind: keyof BusHandlers
  message: never
  /** Number of a message to several topics, per sender. A node that is subscribed to two of them drops the copy. */
  copied?: number
}

/** Publications to other nodes. This node acts first and does not wait for its own message to come back. */
export class Bus {
  /** Identifies this node to the others. */
  readonly node = randomUUID()
  /** Undefined if the backend has no topics. Then every node receives every message. */
  readonly topics: Topics | undefined
  /** Messages received from other nodes. */
  received = 0
  readonly #backend: StateBackend
  readonly #log: Logger
  #unsubscribe: BackendUnsubscribe | undefined
  #handlers: Partial<BusHandlers> = {}
  /** Messages that this node sent to several topics; below, the last number per sender, least recent sender first. */
  #copied = 0
  readonly #heard = new Map<string, number>()
  /** The promise that messages wait for, and the number of those messages. Later ones wait too, to keep the order. */
  #awaited: Promise<unknown> | undefined
  #waiting = 0
  /** Messages lost since the last success. */
  #lost = 0
  #probes = 0
  #probe: { envelope: string, arrived: () => void } | undefined
  readonly #ready: () => Promise<unknown> | undefined

  /** @param ready the promise to wait for before sending; a later promise does not resolve before an earlier one */
  constructor (backend: StateBackend, ready: () => Promise<unknown> | undefined, log: Logger) {
    this.#backend = backend
    this.#ready = ready
    this.#log = log
    if (backend.hasTopics === true) this.topics = new Topics((topic) => backend.subscribe(CHANNEL, this.#receive, topic))
  }

  async open (handlers: Partial<BusHandlers>): Promise<void> {
    this.#handlers = handlers
    this.#unsubscribe = this.#backend.subscribe(CHANNEL, this.#receive)
    await this.#unsubscribe.ready
  }

  readonly #receive = (_: string, envelope: unknown): void => {
    // text with the sender's id in front, so that a node recognizes its own messages without parsing
    const text = envelope as string
    const { length } = this.node
    if (text.startsWith(this.node)) return this.#returned(text)
    this.received++
    const { kind, message, copied } = JSON.parse(text.slice(length)) as Envelope
    if (copied === undefined || this.#isNews(text.slice(0, length), copied)) this.#handlers[kind]?.(message, this)
  }

  /** Whether a message to several topics arrives for the first time. Messages of one sender arrive in order. */
  #isNews (sender: string, copied: number): boolean {
    const last = this.#heard.get(sender) ?? 0
    this.#heard.delete(sender)
    this.#heard.set(sender, Math.max(last, copied))
    if (this.#heard.size > MAX_SENDERS) this.#heard.delete(this.#heard.keys().next().value!)
    return copied > last
  }

  /**
   * @param message plain JSON
   * @param topics topics of the nodes that should get it; undefined for all nodes. Only if the backend has topics
   */
  publish<K extends keyof BusMessages> (kind: K, message: BusMessages[K], topics?: ReadonlySet<string>): void {
    if (topics?.size === 0) return
    const envelope = this.node + JSON.stringify(topics === undefined || topics.size === 1 ? { kind, message } : { kind, message, copied: ++this.#copied })
    const ready = this.#ready() ?? this.#awaited
    const published = ready === undefined ? this.#send(envelope, topics) : this.#sendAfter(ready, envelope, topics)
    // the sender repeats heartbeats, and tolerates a lost question or answer
    if (kind === 'node' || kind === 'ask' || kind === 'answer') published.catch(() => {})
    else published.then(this.#succeeded, this.#failed)
  }

  #send (envelope: string, topics: ReadonlySet<string> | undefined): Promise<unknown> {
    if (topics === undefined) return this.#backend.publish(CHANNEL, envelope)
    return Promise.all(Array.from(topics, (topic) => this.#backend.publish(CHANNEL, envelope, topic)))
  }

  #sendAfter (ready: Promise<unknown>, envelope: string, topics: ReadonlySet<string> | undefined): Promise<unknown> {
    this.#awaited = ready
    this.#waiting++
    const waited = (): void => { if (--this.#waiting === 0) this.#awaited = undefined }
    return ready.then(
      () => { waited(); return this.#send(envelope, topics) },
      (error: unknown) => { waited(); throw error }
    )
  }

  /**
   * Sends this node a message through the backend. A new probe replaces one that has not come back.
   * @returns ms until the message has come back; pending until then
   */
  async probe (): Promise<number> {
    if (this.#unsubscribe === undefined) throw new Error('the bus is not open')
    const began = performance.now()
    return await new Promise((resolve, reject) => {
      const envelope = this.node + JSON.stringify({ kind: 'probe', message: ++this.#probes })
      this.#probe = { envelope, arrived: () => { resolve(performance.now() - began) } }
      this.#backend.publish(CHANNEL, envelope).catch(reject)
    })
  }

  #returned (text: string): void {
    if (this.#probe === undefined || text !== this.#probe.envelope) return
    this.#probe.arrived()
    this.#probe = undefined
  }

  close (): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.topics?.close()
  }

  readonly #succeeded = (): void => {
    if (this.#lost > 0) this.#log.warn(`messages reach the other nodes again; ${this.#lost} messages are lost, or may be`)
    this.#lost = 0
  }

  readonly #failed = (error: unknown): void => {
    if (this.#lost++ === 0) this.#log.error({ err: error }, 'a message to the other nodes is lost, or may be; the server counts further ones and logs their number later')
  }
}
