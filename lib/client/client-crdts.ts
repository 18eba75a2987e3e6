import { HybridClock, fromMs, randomNode, toMs } from '../crdt/clock.js'
import type { CrdtOp, CrdtType } from '../crdt/crdt.js'
import { readEdit } from '../crdt/types.js'
import type { CrdtChanges, CrdtSnapshot } from '../crdt/crdt-frames.js'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import type { ErrorMessage } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { SubscribeRetry } from './subscribe-retry.js'
import type { Feature } from './feature.js'
import { CrdtKey, type Pending } from './crdt-key.js'
import type { Failure } from './link.js'
import type { SubscriptionHost } from './state-subscriptions.js'

/** Bounds of the unacknowledged operations: their number, and the characters of their JSON. */
const MAX_PENDING = 1000
const MAX_SIZE = 4 * 1024 * 1024

/** Delay in ms before a message is sent again for which the socket's buffer had no room. */
const RETRY = 1000

/** Maximum number of operations in flight at once. */
const MAX_IN_FLIGHT = 50

/** Callbacks for the value of a key, and for errors of its operations or subscription. */
export interface CrdtSubscriber { onValue?: (value: unknown) => void, /** called when the server has acknowledged every operation */ onSettled?: () => void, onError?: (error: DatasoleError) => void }

interface Entry {
  replica: CrdtKey
  subscribers: Set<CrdtSubscriber>
  /** Correlation id of the SUBSCRIBE in flight, or 0. */
  asked: number
  isClosed: boolean
  /** Set while the server defers the subscription. */
  retry?: SubscribeRetry
}

/** The CRDT keys of this client. Operations apply locally at once, and are sent until the server acknowledges them. */
export class ClientCrdts implements Feature {
  readonly #host: SubscriptionHost
  readonly #entries = new Map<string, Entry>()
  readonly #inFlight = new Map<number, { entry: Entry, pending: Pending, /** whether this is the first attempt */ isFirst: boolean }>()
  #clock = new HybridClock()
  #count = 0
  #size = 0
  #isScheduled = false
  /** Set while the server has asked the client to wait. */
  #pause: ReturnType<typeof setTimeout> | undefined

  constructor (host: SubscriptionHost) {
    this.#host = host
  }

  /** @throws DatasoleError `TYPE_MISMATCH` */
  open (key: string, type: CrdtType): Entry {
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      this.#entries.set(key, entry = { replica: new CrdtKey(key, type, randomNode()), subscribers: new Set(), asked: 0, isClosed: false })
      this.#ask(entry)
    } else if (entry.replica.type !== type) {
      throw new DatasoleError('TYPE_MISMATCH', `"${key}" is open as ${entry.replica.type}`)
    }
    entry.isClosed = false
    return entry
  }

  /** Unsubscribes. Queued operations are still sent. */
  close (entry: Entry): void {
    entry.isClosed = true
    this.#forget(entry)
  }

  subscribe (entry: Entry, subscriber: CrdtSubscriber): Unsubscribe {
    entry.subscribers.add(subscriber)
    // deliver a known value soon, but only after the caller has its unsubscriber
    if (entry.replica.head !== undefined || entry.replica.pending.length > 0) queueMicrotask(() => { if (entry.subscribers.has(subscriber)) this.#notify(entry, [subscriber]) })
    return unsubscriber(() => { entry.subscribers.delete(subscriber) })
  }

  /** @throws TypeError for an invalid operation; DatasoleError `BUSY` if too many operations are unacknowledged */
  apply (entry: Entry, op: Pick<CrdtOp, 'op' | 'key' | 'value'>): void {
    const { replica } = entry
    this.#clock.see(fromMs(replica.writtenAt(op.key)))
    const read = readEdit({ type: replica.type, nodeId: replica.nodeId, timestamp: toMs(this.#clock.tick()), op: op.op }, op.key, op.value)
    if (typeof read === 'string') throw invalidArgument(`crdt("${replica.key}"): ${read}`)
    if (this.#count >= MAX_PENDING || this.#size >= MAX_SIZE) throw new DatasoleError('BUSY', `${this.#count} operations already wait for the server`)
    if (entry.isClosed) this.open(replica.key, replica.type)
    this.#waits(entry, () => replica.add(read))
    this.#notify(entry)
  }

  /** Runs a function that may queue operations. @param run returns the characters of JSON that it adds to the queue */
  #waits ({ replica: { pending } }: Entry, run: () => number): void {
    const before = pending.length
    this.#size += run()
    this.#count += pending.length - before
    if (pending.length > 0) this.#schedule()
  }

  connected (): void {
    for (const entry of this.#entries.values()) this.#ask(entry)
    this.#flush()
  }

  disconnected (): void {
    this.#inFlight.clear()
    clearTimeout(this.#pause)
    this.#pause = undefined
    for (const entry of this.#entries.values()) {
      entry.asked = 0
      entry.retry?.end()
      entry.retry = undefined
      for (const pending of entry.replica.pending) pending.id = 0
    }
  }

  receive (opcode: number, correlationId: number, payload: unknown): boolean {
    if (opcode === Opcode.CRDT_ACK) this.#acknowledged(correlationId)
    else if (opcode === Opcode.CRDT_OP || opcode === Opcode.CRDT_STATE) this.#changed(opcode, correlationId, payload as CrdtSnapshot | CrdtChanges)
    else return false
    return true
  }

  #changed (opcode: number, correlationId: number, message: CrdtSnapshot | CrdtChanges): void {
    const entry = this.#entries.get(message.key)
    if (entry === undefined) return
    const isAnswer = correlationId !== 0 && correlationId === entry.asked
    if (isAnswer) {
      entry.asked = 0
      entry.retry = undefined
      this.#schedule()
    }
    if (opcode === Opcode.CRDT_OP) {
      const outcome = entry.replica.changes(message as CrdtChanges)
      if (outcome === 'changed') this.#notify(entry)
      else if (outcome === 'gap' && entry.asked === 0) this.#ask(entry)
      return
    }
    const { state } = message as CrdtSnapshot
    if (state !== undefined && state.type !== entry.replica.type) return this.#report(entry, new DatasoleError('TYPE_MISMATCH', `"${message.key}" is a ${state.type}, not a ${entry.replica.type}`))
    if (state !== undefined) this.#clock.see(fromMs(state.metadata.timestamp))
    this.#waits(entry, () => entry.replica.state(message as CrdtSnapshot))
    this.#notify(entry)
  }

  /** @returns whether the error was about a CRDT */
  refused (correlationId: number, { code, message, retryAfter, now, nodeId }: ErrorMessage): boolean {
    if (correlationId === 0) return false
    const sent = this.#inFlight.get(correlationId)
    if (sent === undefined) return this.#notFollowed(correlationId, code, message, retryAfter)
    this.#inFlight.delete(correlationId)
    const { entry, pending, isFirst } = sent
    pending.id = 0
    // the server has no copy of it, so a later operation may still replace it
    if (code === 'RATE_LIMITED' && isFirst) pending.isSent = false
    if (nodeId !== undefined && nodeId === entry.replica.nodeId) {
      // the nodeId belongs to another user, because the client has signed in as someone else
      entry.replica.rename(randomNode())
      this.#ask(entry)
    }
    if (retryAfter !== undefined) {
      this.#wait(retryAfter)
    } else if (code === 'CLOCK_SKEW' && now !== undefined && pending.op.timestamp > now) {
      this.#correct(now)
      entry.replica.restamp(pending, toMs(this.#clock.tick()))
      this.#schedule()
    } else if (nodeId !== undefined && isFirst) {
      entry.replica.renumber(pending)
      this.#schedule()
    } else {
      this.#settled(pending)
      entry.replica.refuse(pending)
      this.#notify(entry)
      this.#report(entry, new DatasoleError(code, `an operation on "${entry.replica.key}" was refused: ${message}`))
      this.#forget(entry)
    }
    return true
  }

  /** @returns whether the unsent message was of a CRDT */
  unsent (correlationId: number, { code, message }: Failure): boolean {
    return this.refused(correlationId, { code: code as ErrorMessage['code'], message, retryAfter: code === 'BUSY' ? RETRY : undefined })
  }

  #notFollowed (correlationId: number, code: string, message: string, retryAfter: number | undefined): boolean {
    const entry = Array.from(this.#entries.values()).find(({ asked }) => asked === correlationId)
    if (entry === undefined) return false
    entry.asked = 0
    this.#schedule()
    const { key } = entry.replica
    if (retryAfter === undefined) {
      entry.retry = undefined
      this.#report(entry, new DatasoleError(code, `the subscription to "${key}" was refused: ${message}`))
      return true
    }
    const again = (): void => { if (entry.asked === 0 && this.#entries.get(key) === entry) this.#ask(entry) }
    const waits = (entry.retry ??= new SubscribeRetry()).refused(key, { code, message, retryAfter }, again)
    if (waits !== undefined) this.#report(entry, waits)
    return true
  }

  #acknowledged (correlationId: number): void {
    const sent = this.#inFlight.get(correlationId)
    if (sent === undefined) return
    this.#inFlight.delete(correlationId)
    this.#settled(sent.pending)
    sent.entry.replica.acknowledge(sent.pending)
    if (sent.entry.replica.pending.length === 0) for (const { onSettled } of [...sent.entry.subscribers]) this.#guard(() => { onSettled?.() })
    this.#forget(sent.entry)
    if (this.#count > 0) this.#schedule()
  }

  #settled ({ size }: Pending): void {
    this.#size -= size
    this.#count--
  }

  /** Follows the server's clock from now on, because the local clock is ahead. */
  #correct (now: number): void {
    const offset = now - Date.now()
    this.#clock = new HybridClock(() => Date.now() + offset, this.#clock.node)
  }

  #ask (entry: Entry): void {
    if (!this.#host.isConnected) return
    const { key, type, nodeId, head } = entry.replica
    entry.asked = this.#host.nextId()
    this.#host.send(Opcode.SUBSCRIBE, entry.asked, { key, type, nodeId, ...head })
  }

  /** Schedules a flush, so that operations of one tick are sent together. */
  #schedule (): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#flush()
    })
  }

  #flush (): void {
    if (!this.#host.isConnected || this.#pause !== undefined) return
    for (const entry of this.#entries.values()) {
      // wait for the answer to SUBSCRIBE: it has the server's time, and shows which operations have arrived
      if (entry.asked !== 0) continue
      for (const pending of [...entry.replica.pending]) {
        if (this.#inFlight.size >= MAX_IN_FLIGHT) return
        if (pending.id !== 0) continue
        pending.id = this.#host.nextId()
        const isFirst = !pending.isSent
        // use the current time: a counter needs timestamps only to detect repeats
        if (isFirst && entry.replica.type === 'pn-counter') pending.op.timestamp = toMs(this.#clock.tick())
        pending.isSent = true
        this.#inFlight.set(pending.id, { entry, pending, isFirst })
        this.#host.send(Opcode.CRDT_OP, pending.id, entry.replica.message(pending))
      }
    }
  }

  #wait (ms: number): void {
    this.#pause ??= setTimeout(() => {
      this.#pause = undefined
      this.#flush()
    }, ms)
  }

  #forget (entry: Entry): void {
    const { key, pending } = entry.replica
    if (!entry.isClosed || pending.length > 0 || this.#entries.get(key) !== entry) return
    this.#entries.delete(key)
    if (this.#host.isConnected) this.#host.send(Opcode.UNSUBSCRIBE, 0, { key })
  }

  #notify ({ replica, subscribers }: Entry, notified: Iterable<CrdtSubscriber> = [...subscribers]): void {
    for (const { onValue } of notified) this.#guard(() => { onValue?.(replica.value) })
    if (subscribers.size > 0) replica.dropDelivered()
  }

  #report ({ subscribers }: Entry, error: DatasoleError): void {
    const listeners = Array.from(subscribers).flatMap(({ onError }) => onError ?? [])
    if (listeners.length === 0) return this.#host.onError(error)
    for (const onError of listeners) this.#guard(() => { onError(error) })
  }

  #guard (run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#host.onError(error)
    }
  }
}
