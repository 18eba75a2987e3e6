import type { BackendUnsubscribe } from '../../backend/backend.js'

/** ms that a topic without members stays subscribed, and the number of such topics: members often come back at once. */
const LINGER = 5000
const MAX_IDLE = 1000

/** Topics that are ended together, before their time, if there are too many. */
const EVICTED = 100

/** ms between two rounds of subscriptions: one command with many topics costs little more than one with one. */
const PACE = 5

const NOTHING = (): void => {}
const READY = Promise.resolve()

/** ms that members wait for a subscription, at the most. */
const MAX_WAIT = 1000

/** ms before a failed subscription is tried again. */
const RETRY = 1000

/** Topics that are subscribed together. */
interface Round {
  topics: Map<string, Topic>
  /** Resolves once all are confirmed, or nobody waits any more. */
  arrival: Promise<void>
  settle: () => void
}

interface Topic {
  members: number
  end: () => void
  /** While the subscription is not confirmed, and somebody should wait for that. */
  round: Round | undefined
}

/** The topics of the bus that this node listens to: those that have members here, or had until a moment ago. */
export class Topics {
  readonly #subscribe: (name: string) => BackendUnsubscribe
  readonly #lingerMs: number
  readonly #topics = new Map<string, Topic>()
  /** Topics without members, the oldest first, with the time when the last one left. */
  readonly #idle = new Map<string, number>()
  #sweeping: NodeJS.Timeout | undefined
  /** The next round, and when the last one was. */
  #next: Round | undefined
  #openedAt = -PACE
  #opening: NodeJS.Timeout | undefined
  /** The last member has waited in vain: the store is away, and others need not wait until something arrives again. */
  #isAway = false
  #isClosed = false

  constructor (subscribe: (name: string) => BackendUnsubscribe, lingerMs = LINGER) {
    this.#subscribe = subscribe
    this.#lingerMs = lingerMs
  }

  /** Topics that are subscribed, those without members included. */
  get size (): number { return this.#topics.size }

  /** @returns the promise, which does not reject, of messages of the topic; undefined if they arrive already */
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
    // those that the store subscribes by one command have one promise
    const byReady = new Map<Promise<void>, Map<string, Topic>>()
    for (const [name, topic] of round.topics) {
      const old = topic.end
      const end = topic.end = this.#subscribe(name)
      // after the new one, so that the store keeps its subscription
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

  /** Ends what is old enough; the rest is looked at again together, not each at its time. */
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
      // one that failed may be in another round by now
      for (const topic of round.topics.values()) if (topic.round === round) topic.round = undefined
      arrived()
    }
  }
  return round
}
