import type { BackendUnsubscribe } from '../../backend/backend.js'

/** ms that a topic stays subscribed without members, and the bound on such topics. Members often come back soon. */
const LINGER = 5000
const MAX_IDLE = 1000

/** Idle topics that are unsubscribed together when there are more than `MAX_IDLE`. */
const EVICTED = 100

/** ms between two rounds of subscriptions. One command with many topics costs little more than one with one topic. */
const PACE = 5

const NOTHING = (): void => {}
const READY = Promise.resolve()

/** Longest time (ms) that a member waits for a subscription. */
const MAX_WAIT = 1000

/** ms before a failed subscription is retried. */
const RETRY = 1000

/** Topics that are subscribed together. */
interface Round {
  topics: Map<string, Topic>
  /** Resolves when all are confirmed, or at the timeout. */
  arrival: Promise<void>
  settle: () => void
}

interface Topic {
  members: number
  end: () => void
  /** The round to wait for; undefined once the subscription is confirmed or nobody should wait. */
  round: Round | undefined
}

/** The bus topics that this node subscribes to: those with members here, and those that had members recently. */
export class Topics {
  readonly #subscribe: (name: string) => BackendUnsubscribe
  readonly #lingerMs: number
  readonly #topics = new Map<string, Topic>()
  /** Topics without members, by the time when the last one left, oldest first. */
  readonly #idle = new Map<string, number>()
  #sweeping: NodeJS.Timeout | undefined
  /** The next round, and the time of the last one. */
  #next: Round | undefined
  #openedAt = -PACE
  #opening: NodeJS.Timeout | undefined
  /** True after a wait timed out or failed: the store is down, so nobody waits until a subscription succeeds. */
  #isAway = false
  #isClosed = false

  constructor (subscribe: (name: string) => BackendUnsubscribe, lingerMs = LINGER) {
    this.#subscribe = subscribe
    this.#lingerMs = lingerMs
  }

  /** Subscribed topics, including those without members. */
  get size (): number { return this.#topics.size }

  /** @returns a promise, which does not reject, that messages of the topic arrive; undefined if they already do */
  join (name: string): Promise<void> | undefined {
    if (this.#isClosed) return undefined
    let topic = this.#topics.get(name)
    if (topic === undefined) {
      this.#topics.set(name, topic = { members: 0, end: NOTHING, round: undefined })
      this.#plan(name, topic)
    }
    if (topic.members++ === 0) this.#idle.delete(name)
    return topic.round?.arrival
  }

  leave (name: string): void {
    const topic = this.#topics.get(name)
    if (topic === undefined || --topic.members > 0) return
    this.#idle.set(name, performance.now())
    if (this.#idle.size > MAX_IDLE) for (const oldest of [...this.#idle.keys()].slice(0, EVICTED)) this.#end(oldest)
    this.#sweeping ??= setTimeout(this.#sweep, this.#lingerMs).unref()
  }

  close (): void {
    this.#isClosed = true
    clearTimeout(this.#sweeping)
    clearTimeout(this.#opening)
    for (const { round, end } of this.#topics.values()) {
      round?.settle()
      end()
    }
    this.#topics.clear()
    this.#idle.clear()
  }

  #plan (name: string, topic: Topic): void {
    const round = this.#next ??= newRound()
    round.topics.set(name, topic)
    if (!this.#isAway) topic.round = round
    if (this.#opening !== undefined) return
    const left = this.#openedAt + PACE - performance.now()
    if (left > 0) this.#opening = setTimeout(this.#open, left)
    else this.#open()
  }

  readonly #open = (): void => {
    const round = this.#next!
    this.#next = this.#opening = undefined
    this.#openedAt = performance.now()
    // topics that the store subscribes to by one command share one promise
    const byReady = new Map<Promise<void>, Map<string, Topic>>()
    for (const [name, topic] of round.topics) {
      const old = topic.end
      const end = topic.end = this.#subscribe(name)
      // after the new subscription, so that the store does not unsubscribe in between
      old()
      const ready = end.ready ?? READY
      let topics = byReady.get(ready)
      if (topics === undefined) byReady.set(ready, topics = new Map())
      topics.set(name, topic)
    }
    const late = setTimeout(() => {
      this.#isAway = true
      round.settle()
    }, MAX_WAIT).unref()
    const subscribed = Array.from(byReady, ([ready, topics]) => ready.then(() => { this.#isAway = false }, () => {
      this.#isAway = true
      setTimeout(() => { for (const [name, topic] of topics) if (this.#topics.get(name) === topic) this.#plan(name, topic) }, RETRY).unref()
    }))
    void Promise.all(subscribed).then(() => {
      clearTimeout(late)
      round.settle()
    })
  }

  #end (name: string): void {
    this.#topics.get(name)?.end()
    this.#topics.delete(name)
    this.#idle.delete(name)
    this.#next?.topics.delete(name)
  }

  /** Ends idle topics that are old enough. One timer checks the rest later, instead of a timer for each. */
  readonly #sweep = (): void => {
    this.#sweeping = undefined
    const youngest = performance.now() - this.#lingerMs
    for (const [name, since] of this.#idle) {
      if (since > youngest) break
      this.#end(name)
    }
    if (this.#idle.size > 0) this.#sweeping = setTimeout(this.#sweep, this.#lingerMs / 5).unref()
  }
}

function newRound (): Round {
  let arrived = NOTHING
  const arrival = new Promise<void>((resolve) => { arrived = resolve })
  const round: Round = {
    topics: new Map(),
    arrival,
    settle () {
      // a topic that failed may be in another round by now
      for (const topic of round.topics.values()) if (topic.round === round) topic.round = undefined
      arrived()
    }
  }
  return round
}
