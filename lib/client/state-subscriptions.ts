import { expandOperations } from '../protocol/compact.js'
import { DatasoleError } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { ErrorMessage, Head, Operation, StatePatch, StateSnapshot } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import type { Compact } from './codec.js'
import { SubscribeRetry } from './subscribe-retry.js'
import { StateReplica, type ApplyResult } from './state-replica.js'

/**
 * Gets the frozen value, or undefined if the key has none. `patches` are the operations that turned the last value into
 * this one; undefined if the value comes from a snapshot.
 */
export type StateHandler<T = unknown> = (value: DeepReadonly<T> | undefined, head: Readonly<Head>, patches?: readonly Operation[]) => void

/** `stale`: the value is known but may be outdated. `denied`: the server refused the subscription. */
export type SubscriptionStatus = 'loading' | 'live' | 'stale' | 'denied'

/** A value that a server rendered, and its version: the result of `ds.primitives.live.…` there. */
export interface InitialState<T = unknown> extends Head {
  /** The value, plain JSON. The client freezes it. */
  value: T
}

/** Options of `subscribeState`. */
export interface SubscriptionOptions<T = unknown> {
  /** Gets a refusal (such as `FORBIDDEN`), or a long delay (`RATE_LIMITED`, `INTERNAL`). Default: the client's `onError`. */
  onError?: (error: DatasoleError) => void
  /** Called when the status changes from `loading`, and after each later change. */
  onStatus?: (status: SubscriptionStatus) => void
  /** The value to start from if none is known. The client freezes it, and the server sends only later changes. */
  initial?: InitialState<T>
}

/** Gets every message about a key, while subscribers get only its value. */
export interface Watcher {
  /** Called after the replica has applied the message. */
  received (message: StatePatch | StateSnapshot, isSnapshot: boolean, isAnswer: boolean, replica: StateReplica): void
  denied (error: DatasoleError): void
}

interface Subscriber extends Pick<SubscriptionOptions, 'onError' | 'onStatus'> { handler: StateHandler, isNotified: boolean }

interface Entry {
  key: string
  replica: StateReplica
  /** The version in the server's last message about the key. The next compact patch starts from it. */
  told?: Head
  /** The number of the key in compact patches. */
  number?: number
  subscribers: Set<Subscriber>
  watcher?: Watcher
  /** Correlation id of the SUBSCRIBE in flight, or 0. */
  asked: number
  /** Whether the server refused the subscription. The next connection or subscriber tries again. */
  isRefused: boolean
  /** Whether the server has answered on this connection. */
  isLive: boolean
  status: SubscriptionStatus
  /** Set while the server defers the subscription. */
  retry?: SubscribeRetry
}

export interface SubscriptionHost {
  readonly isConnected: boolean
  /** An unused correlation id. */
  nextId (): number
  send (opcode: number, correlationId: number, message: object): void
  onError (error: unknown): void
}

/** The keys that this client is subscribed to, with their replicas and subscribers. */
export class StateSubscriptions {
  readonly #host: SubscriptionHost
  readonly #entries = new Map<string, Entry>()
  readonly #byNumber = new Map<number, Entry>()
  /** Whether a frame was lost. The version and the number of any key may then be outdated. */
  #hasMissed = false

  constructor (host: SubscriptionHost) {
    this.#host = host
  }

  add (key: string, handler: StateHandler, { onError, onStatus, initial }: SubscriptionOptions): Unsubscribe {
    const subscriber: Subscriber = { handler, onError, onStatus, isNotified: false }
    let entry = this.#entries.get(key)
    const isFirst = entry === undefined
    if (entry === undefined) this.#entries.set(key, entry = { key, replica: new StateReplica(), subscribers: new Set(), asked: 0, isRefused: false, isLive: false, status: 'loading' })
    entry.subscribers.add(subscriber)
    if (initial !== undefined && entry.replica.head === undefined) entry.replica.snapshot({ key, epoch: initial.epoch, version: initial.version, data: initial.value })
    if (isFirst || entry.isRefused) this.#ask(entry)
    this.#changed(entry)
    // deliver a known value soon, but only after the caller has its unsubscriber
    queueMicrotask(() => {
      // also notify earlier subscribers: `initial` may be new to them, and the server will not send it
      if (entry!.replica.head !== undefined) for (const each of [...entry!.subscribers]) if (!each.isNotified) this.#notify(entry!, each)
      if (entry!.status !== 'loading' && entry!.subscribers.has(subscriber)) this.#guard(() => { onStatus?.(entry!.status) })
    })
    return unsubscriber(() => { this.#remove(entry!, subscriber) })
  }

  /** Sets the only watcher of a key. @returns removes it */
  watch (key: string, watcher: Watcher): () => void {
    const end = this.add(key, () => {}, { onError: (error) => { watcher.denied(error) } })
    const entry = this.#entries.get(key)!
    entry.watcher = watcher
    // the client does not know yet what kind of channel the key is, so ask for an answer
    if (entry.replica.head !== undefined && entry.asked === 0) this.#ask(entry)
    return () => {
      entry.watcher = undefined
      end()
    }
  }

  get (key: string): unknown {
    return this.#entries.get(key)?.replica.value
  }

  /** The status of a key; undefined if there is no subscription. */
  statusOf (key: string): SubscriptionStatus | undefined {
    return this.#entries.get(key)?.status
  }

  /** Subscribes again from the current heads. The server sends the missing versions. */
  connected (): void {
    for (const entry of this.#entries.values()) this.#ask(entry)
  }

  disconnected (): void {
    for (const entry of this.#entries.values()) {
      entry.asked = 0
      entry.isLive = false
      this.#number(entry, undefined)
      entry.retry?.end()
      entry.retry = undefined
      this.#changed(entry)
    }
  }

  receive (opcode: number, correlationId: number, message: StatePatch | StateSnapshot): void {
    const entry = this.#entries.get(message.key)
    if (entry === undefined) return
    entry.told = { epoch: message.epoch, version: message.version }
    if (message.n !== undefined) this.#number(entry, message.n)
    this.#apply(entry, opcode, correlationId, message)
  }

  /** Handles a patch in its short form. Ignores patches of keys without subscribers. */
  receiveCompact ({ first, second, data }: Compact): void {
    const entry = this.#byNumber.get(first)
    if (entry === undefined) return this.#unknown()
    const { key, told } = entry
    const { epoch, version: from } = told!
    const version = from + second
    entry.told = { epoch, version } // set it first: if this patch cannot be read, the next one reveals the gap
    this.#apply(entry, Opcode.STATE_PATCH, 0, { key, epoch, from, version, patches: expandOperations(data as unknown[]) })
  }

  /** Called if a frame could not be read. It may have been about any key. */
  missed (): void {
    this.#byNumber.clear()
    this.#hasMissed = true
  }

  /** Handles a compact patch with an unknown number: the key has no subscribers or, after a lost frame, may be any key. */
  #unknown (): void {
    if (!this.#hasMissed) return
    this.#hasMissed = false
    for (const entry of this.#entries.values()) if (entry.asked === 0) this.#ask(entry)
  }

  #number (entry: Entry, number: number | undefined): void {
    if (entry.number !== undefined) this.#byNumber.delete(entry.number)
    if (number !== undefined) this.#byNumber.set(number, entry)
    entry.number = number
  }

  #apply (entry: Entry, opcode: number, correlationId: number, message: StatePatch | StateSnapshot): void {
    const isAnswer = correlationId !== 0 && correlationId === entry.asked
    if (isAnswer) {
      entry.asked = 0
      entry.isLive = true
      entry.retry = undefined
    }
    const outcome: ApplyResult = opcode === Opcode.STATE_SNAPSHOT
      ? entry.replica.snapshot(message as StateSnapshot)
      : entry.replica.patch(message as StatePatch)
    if (outcome === 'gap') entry.isLive = false
    // set the status before handlers run, because they may read it; call its listeners after them
    const isOther = this.#judge(entry)
    if (outcome === 'changed') {
      const patches = opcode === Opcode.STATE_PATCH ? (message as StatePatch).patches : undefined
      for (const subscriber of [...entry.subscribers]) this.#notify(entry, subscriber, patches)
    } else if (outcome === 'gap') {
      // if even the answer does not apply, ask for a snapshot
      if (isAnswer) entry.replica.head = undefined
      if (entry.asked === 0) this.#ask(entry)
    }
    if (isOther) this.#tellStatus(entry)
    if (outcome === 'gap') return
    if (entry.watcher !== undefined) this.#guard(() => { entry.watcher!.received(message, opcode === Opcode.STATE_SNAPSHOT, isAnswer, entry.replica) })
  }

  /** @returns whether the error was the answer to a SUBSCRIBE */
  refused (correlationId: number, error: ErrorMessage): boolean {
    const entry = Array.from(this.#entries.values()).find(({ asked }) => asked === correlationId)
    if (correlationId === 0 || entry === undefined) return false
    entry.asked = 0
    if (error.retryAfter !== undefined) {
      const waits = (entry.retry ??= new SubscribeRetry()).refused(entry.key, error, () => { this.#ask(entry) })
      if (waits !== undefined) this.#report(entry, waits, false)
      return true
    }
    entry.isRefused = true
    entry.isLive = false
    entry.retry = undefined
    this.#report(entry, new DatasoleError(error.code, `the subscription to "${entry.key}" was refused: ${error.message}`), true)
    this.#changed(entry)
    return true
  }

  #changed (entry: Entry): void {
    if (this.#judge(entry)) this.#tellStatus(entry)
  }

  /** Updates the status. @returns whether it has changed */
  #judge (entry: Entry): boolean {
    const status = entry.isRefused ? 'denied' : entry.isLive ? 'live' : entry.replica.head !== undefined ? 'stale' : 'loading'
    if (status === entry.status) return false
    entry.status = status
    return true
  }

  #tellStatus ({ status, subscribers }: Entry): void {
    for (const { onStatus } of [...subscribers]) this.#guard(() => { onStatus?.(status) })
  }

  /** @param isFinal whether the subscription is refused for good, so that a watcher must drop its changes */
  #report ({ subscribers, watcher }: Entry, error: DatasoleError, isFinal: boolean): void {
    if (!isFinal && watcher !== undefined) return this.#guard(() => { this.#host.onError(error) })
    for (const { onError } of [...subscribers]) this.#guard(() => { (onError ?? this.#host.onError)(error) })
  }

  #ask (entry: Entry): void {
    if (!this.#host.isConnected) return
    entry.retry?.end()
    entry.isRefused = false
    entry.asked = this.#host.nextId()
    this.#host.send(Opcode.SUBSCRIBE, entry.asked, { key: entry.key, ...entry.replica.head })
  }

  #remove (entry: Entry, subscriber: Subscriber): void {
    if (!entry.subscribers.delete(subscriber) || entry.subscribers.size > 0) return
    entry.retry?.end()
    this.#entries.delete(entry.key)
    this.#number(entry, undefined)
    if (this.#host.isConnected) this.#host.send(Opcode.UNSUBSCRIBE, 0, { key: entry.key })
  }

  #notify ({ replica, subscribers }: Entry, subscriber: Subscriber, patches?: Operation[]): void {
    if (!subscribers.has(subscriber)) return
    // patches start from the last value, which a new subscriber does not have
    const follows = subscriber.isNotified ? patches : undefined
    subscriber.isNotified = true
    this.#guard(() => { subscriber.handler(replica.value, replica.head!, follows) })
  }

  #guard (run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#host.onError(error)
    }
  }
}
