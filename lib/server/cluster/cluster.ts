import { hostname } from 'node:os'
import { DatasoleError } from '../../protocol/errors.js'
import type { Answer, Bus, BusHandlers, NodeCard, Question } from '../bus/bus.js'
import type { Part } from '../lifecycle/part.js'

/** ms between two heartbeats of a node. Other nodes drop it after `MISSED` intervals without one. */
const HEARTBEAT = 5000
const MISSED = 3

/** Most questions that may wait for their answers at once. */
const MAX_ASKED = 1000

/** The answers of the nodes. `missing` lists known nodes that did not answer in time. */
export interface Answers { byNode: Map<string, Answer>, missing: string[] }

type OwnQuestion = Exclude<Question, { kind: 'plugin' }>

interface Asked { missing: Set<string>, byNode: Map<string, Answer>, done: () => void }

/** The nodes that share a backend, and questions to all of them. */
export class Cluster implements Part {
  readonly #bus: () => Bus
  readonly #answer: (question: OwnQuestion) => Answer
  readonly #heartbeatMs: number
  readonly #topic: string | undefined
  readonly #startedAt = Date.now()
  /** The other nodes, with the time of their last heartbeat (ms, monotonic). */
  readonly #others = new Map<string, { card: NodeCard, seenAt: number }>()
  /** Nodes of older versions among them, which are not subscribed to topics. */
  readonly #older = new Set<string>()
  readonly #asked = new Map<number, Asked>()
  readonly #plugins = new Map<string, (asked: unknown) => unknown>()
  #lastId = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param answer answers a question for this node
   * @param topic the node's own topic, so that other nodes do not receive the answers to it
   */
  constructor (bus: () => Bus, answer: (question: OwnQuestion) => Answer, topic?: string, heartbeatMs = HEARTBEAT) {
    this.#bus = bus
    this.#answer = answer
    this.#heartbeatMs = heartbeatMs
    this.#topic = topic
  }

  readonly messages: Partial<BusHandlers> = {
    node: ({ isGone, hasTopics, ...card }) => {
      if (isGone === true) return this.#gone(card.node)
      if (hasTopics !== true) this.#older.add(card.node)
      const isNew = !this.#others.has(card.node)
      this.#others.set(card.node, { card, seenAt: performance.now() })
      // otherwise a new node would learn of the others only at their next heartbeat
      if (isNew) this.#tell()
    },
    ask: ({ node, id, question, topic }) => {
      const bus = this.#bus()
      bus.publish('answer', { to: node, node: bus.node, id, answer: this.#answerTo(question) }, bus.topics && topic !== undefined ? new Set([topic]) : undefined)
    },
    answer: ({ to, node, id, answer }) => {
      const asked = to === this.#bus().node ? this.#asked.get(id) : undefined
      if (asked === undefined) return
      asked.byNode.set(node, answer)
      asked.missing.delete(node)
      if (asked.missing.size === 0) asked.done()
    }
  }

  start (): void {
    this.#tell()
    this.#timer = setInterval(() => {
      this.#dropSilent()
      this.#tell()
    }, this.#heartbeatMs).unref()
  }

  async quiesce (): Promise<void> {
    if (this.#timer !== undefined) this.#bus().publish('node', { ...this.#card, isGone: true })
    this.stop()
  }

  stop (): void {
    clearInterval(this.#timer)
    this.#timer = undefined
    for (const { done } of this.#asked.values()) done()
  }

  /**
   * Registers a plugin's answer to its own questions: plain JSON of bounded size. It must not throw.
   * @throws DatasoleError `DUPLICATE_REGISTRATION`
   */
  answerBy (plugin: string, answer: (asked: unknown) => unknown): void {
    if (this.#plugins.has(plugin)) throw new DatasoleError('DUPLICATE_REGISTRATION', `${plugin} is already registered; register it once per server`)
    this.#plugins.set(plugin, answer)
  }

  #answerTo (question: Question): Answer {
    return question.kind === 'plugin' ? { count: 0, answered: this.#plugins.get(question.plugin)?.(question.asked) } : this.#answer(question)
  }

  /** Whether all nodes are subscribed to their topics. */
  get hasTopics (): boolean { return this.#older.size === 0 }

  /** This node first, then the other nodes with a recent heartbeat. */
  nodes (): NodeCard[] {
    this.#dropSilent()
    return [this.#card, ...Array.from(this.#others.values(), ({ card }) => card)]
  }

  /**
   * Asks all nodes, including this one.
   * @param timeoutMs ms after which a node without an answer is missing
   * @throws DatasoleError `BUSY` if too many questions wait already
   */
  async ask (question: Question, timeoutMs: number): Promise<Answers> {
    const [self, ...others] = this.nodes().map(({ node }) => node)
    const byNode = new Map([[self!, this.#answerTo(question)]])
    if (others.length === 0) return { byNode, missing: [] }
    if (this.#asked.size >= MAX_ASKED) throw new DatasoleError('BUSY', `${MAX_ASKED} questions to the other nodes already wait for answers; try again later`)
    const id = ++this.#lastId
    const missing = new Set(others)
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#asked.set(id, { missing, byNode, done: () => { clearTimeout(timer); resolve() } })
      this.#bus().publish('ask', { node: self!, id, question, topic: this.#topic })
    })
    this.#asked.delete(id)
    return { byNode, missing: [...missing] }
  }

  get #card (): NodeCard { return { node: this.#bus().node, pid: process.pid, host: hostname(), startedAt: this.#startedAt } }

  #tell (): void { this.#bus().publish('node', { ...this.#card, hasTopics: true }) }

  #dropSilent (): void {
    const oldest = performance.now() - MISSED * this.#heartbeatMs
    for (const [node, { seenAt }] of this.#others) if (seenAt < oldest) this.#gone(node)
  }

  /** Removes a node. Nobody waits for its answers any more. */
  #gone (node: string): void {
    this.#others.delete(node)
    this.#older.delete(node)
    for (const asked of this.#asked.values()) if (asked.missing.delete(node) && asked.missing.size === 0) asked.done()
  }
}
