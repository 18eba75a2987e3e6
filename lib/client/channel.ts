import { DatasoleError, messageOf } from '../protocol/errors.js'
import type { DeepReadonly } from '../protocol/frozen.js'
import type { ChannelInfo, ErrorMessage, StateAck, StatePatch, StateSnapshot } from '../protocol/messages.js'
import { Opcode } from '../protocol/opcodes.js'
import type { Unsubscribe } from '../protocol/unsubscribe.js'
import { type Change, checkRoom, make, makeAll, takeChanges, wholeChange } from './changes.js'
import { AckedValue } from './acked-value.js'
import { InFlightPush } from './in-flight-push.js'
import type { StateReplica } from './state-replica.js'
import { type ChannelHandler, OptimisticValue } from './optimistic-value.js'

/** Upper bound of the delay after the second conflict in a row, in ms. It doubles up to MAX_WAIT. */
const FIRST_WAIT = 80
const MAX_WAIT = 2000

export interface ChannelHost {
  readonly isConnected: boolean
  nextId (): number
  /** The identity of the next push: an unused sequence number. */
  nextPush (): { client: string, seq: number }
  send (opcode: number, correlationId: number, json: string): void
  onError (error: unknown): void
  /** Called when the channel is closed and nothing is left to send. */
  ended (key: string): void
}

/**
 * A key that this client also writes. Its value is the server's value plus the changes that the server does not have
 * yet. After a conflict these changes are applied again to the newer value.
 */
export class Channel<T = unknown> {
  readonly #host: ChannelHost
  readonly #saved: (() => void)[] = []
  #info: ChannelInfo | undefined
  /** Whether the server has answered the subscription on this connection. */
  #isAnswered = false
  readonly #confirmed = new AckedValue()
  #flight: InFlightPush | undefined
  #waiting: Change[] = []
  readonly #shown: OptimisticValue
  /** True after a conflict, until the newer value arrives. */
  #awaitsValue = false
  #conflicts = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #isScheduled = false
  #tick = 0
  /** Number of changes from a refused push that are sent again, one tick per push. */
  #apart = 0
  #hasWritten = false
  #isClosed = false

  /** @internal */
  constructor (readonly key: string, host: ChannelHost) {
    this.#host = host
    this.#shown = new OptimisticValue((error) => { host.onError(error) })
  }

  /** The server's value plus the changes that the server does not have yet. It is frozen. */
  get (): DeepReadonly<T> | undefined { return this.#shown.value as DeepReadonly<T> | undefined }

  /** Number of changes that the server has not acknowledged. */
  get pending (): number { return (this.#flight?.changes.length ?? 0) + this.#waiting.length }

  /**
   * Changes the value at once, and sends the change when the client is connected. Changes of one tick are sent as one
   * push. If the value is not known yet, the recipe runs once it is.
   *
   * If another client wrote first, the recipe runs again on the newer value. If the recipe then throws, the change is
   * dropped, and `onError` gets the error.
   * @param recipe changes a draft, or returns a new value; gets `undefined` if the key has no value
   * @throws the recipe's error
   * @throws DatasoleError `BUSY` (1,000 changes or 4 MiB are already queued), `UNKNOWN_KEY` (the server accepts no
   *   changes of this key), `CLOSED`
   */
  update (recipe: (draft: T | undefined) => T | DeepReadonly<T> | void): void {
    this.#add({ recipe: recipe as Change['recipe'], isWhole: false, size: 0, tick: this.#tick })
  }

  /**
   * Replaces the whole value, including changes of other clients.
   * @param value plain JSON; a copy is kept
   * @throws TypeError `INVALID_JSON` if JSON cannot hold the value
   * @throws DatasoleError the same as `update`
   */
  set (value: T | DeepReadonly<T>): void {
    this.#add(wholeChange(value, this.#tick))
  }

  /**
   * Calls the handler as soon as the value is known, and after each change, own changes included.
   * @param handler gets the value
   * @returns unsubscribes the handler
   */
  subscribe (handler: ChannelHandler<T>): Unsubscribe {
    return this.#shown.subscribe(handler as ChannelHandler)
  }

  /** Resolves when no change is pending. The client's `onError` gets refused changes. */
  saved (): Promise<void> {
    return this.pending === 0 ? Promise.resolve() : new Promise((resolve) => { this.#saved.push(resolve) })
  }

  /** Accepts no more changes and calls no more handlers. Queued changes are still sent. */
  close (): void {
    if (this.#isClosed) return // the key may have a newer channel
    this.#isClosed = true
    this.#shown.clear()
    this.#push()
    this.#settle()
  }

  /** @internal */
  reopen (): void { this.#isClosed = false }

  get #isWritable (): boolean { return this.#info !== undefined && this.#info.direction !== 'server-to-client' && this.#info.mode !== 'crdt' }

  /** @internal Runs before the subscriptions are renewed, so that their answers include a repeated push. */
  connected (): void {
    if (this.#flight === undefined) return
    if (this.#info?.direction !== 'client-to-server') return this.#send(this.#flight)
    // the server drops a connection's private copy when the connection ends
    this.#waiting.unshift(...this.#flight.changes)
    this.#flight = undefined
  }

  /** @internal */
  disconnected (): void {
    this.#isAnswered = this.#awaitsValue = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#flight !== undefined) this.#flight.id = 0
  }

  /** @internal Called after the replica has applied a message about the key. */
  received (message: StatePatch | StateSnapshot, isSnapshot: boolean, isAnswer: boolean, { head, value }: StateReplica): void {
    if (isSnapshot || isAnswer) {
      this.#info = message.channel
      this.#awaitsValue = false
    }
    if (isAnswer) this.#isAnswered = true
    if (head === undefined) return
    const before = this.#confirmed.learn({ ...head, value })
    if (before !== undefined && this.#hasWritten && this.#info?.direction === 'client-to-server') {
      // the private copy of this connection is new: write the last one's value again
      if (before.value !== undefined) this.#waiting.unshift(wholeChange(before.value, -1))
      this.#hasWritten = false
    }
    this.#remake()
    this.#schedule()
  }

  /** @internal @returns whether the acknowledged push was of this channel */
  acked (id: number, head: StateAck): boolean {
    const flight = this.#flight
    if (flight === undefined || flight.id !== id) return false
    this.#flight = undefined
    this.#hasWritten = true
    this.#conflicts = 0
    this.#confirmed.acked(flight, head)
    this.#remake()
    this.#settle()
    this.#schedule()
    return true
  }

  /** @internal @returns whether the refused push was of this channel */
  refused (id: number, { code, message, retryAfter }: Pick<ErrorMessage, 'message' | 'retryAfter'> & { code: string }): boolean {
    const flight = this.#flight
    if (flight === undefined || flight.id !== id) return false
    flight.id = 0
    if (retryAfter !== undefined) {
      // the server may have committed it nevertheless: repeat the same push
      this.#wait(retryAfter)
      return true
    }
    this.#flight = undefined
    if (code === 'CONFLICT') {
      this.#waiting.unshift(...flight.changes)
      this.#awaitsValue = true
      if (this.#conflicts++ > 0) this.#wait(Math.random() * Math.min(MAX_WAIT, FIRST_WAIT * 2 ** (this.#conflicts - 2)))
    } else if (flight.changes.at(-1)!.tick !== flight.changes[0]!.tick) {
      // one of the changes is invalid, or there are too many: send one tick at a time
      this.#waiting.unshift(...flight.changes)
      this.#apart = flight.changes.length
    } else {
      this.#host.onError(new DatasoleError(code, `a change of "${this.key}" was refused: ${message}`))
    }
    this.#remake()
    this.#settle()
    this.#schedule()
    return true
  }

  /** @internal The client may not read the key, so there is no value to apply changes to. */
  denied (error: DatasoleError): void {
    this.#host.onError(error)
    this.#waiting = []
    this.#remake()
    this.#settle()
  }

  #add (change: Change): void {
    if (this.#isClosed) throw new DatasoleError('CLOSED', `channel "${this.key}" is closed`)
    if (this.#isAnswered && !this.#isWritable) throw this.#unwritable()
    let { value } = this.#shown
    if (this.#shown.isKnown || change.isWhole) {
      const made = make(change, value)
      if (made.patches.length === 0) return
      value = made.value
      if (!change.isWhole) change.size = JSON.stringify(made.patches).length
    }
    // a whole value overwrites the queued changes before it
    const before = change.isWhole ? [] : this.#waiting
    checkRoom(this.key, [...before, change], this.#flight?.changes.length)
    this.#waiting = before
    this.#waiting.push(change)
    this.#schedule()
    this.#shown.show(value, false)
  }

  /** Schedules one push per tick, with all of its changes. */
  #schedule (): void {
    if (this.#isScheduled || this.#waiting.length === 0) return
    this.#isScheduled = true
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#tick++
      this.#push()
    })
  }

  #push (): void {
    const { known } = this.#confirmed
    if (this.#waiting.length === 0 || this.#flight !== undefined || this.#timer !== undefined) return
    if (!this.#host.isConnected || !this.#isAnswered || this.#awaitsValue || known === undefined) return
    const changes = takeChanges(this.#waiting, this.#apart > 0)
    this.#apart = Math.max(0, this.#apart - changes.length)
    if (!this.#isWritable) {
      this.#host.onError(this.#unwritable())
    } else {
      const made = makeAll(changes, makeAll(this.#confirmed.ahead, known.value).value, this.#dropped)
      if (made.patches.length > 0) {
        this.#flight = new InFlightPush({ key: this.key, mode: this.#info!.mode, base: known, push: this.#host.nextPush(), ...made })
        return this.#send(this.#flight)
      }
    }
    this.#remake()
    this.#settle()
    this.#schedule()
  }

  #send (flight: InFlightPush): void {
    flight.id = this.#host.nextId()
    this.#host.send(Opcode.STATE_PUSH, flight.id, flight.json)
  }

  #wait (ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#flight === undefined) this.#push()
      else if (this.#host.isConnected) this.#send(this.#flight)
    }, ms)
  }

  /** Applies every change again to the known value. If it is unknown, starts at the first whole change. */
  #remake (): void {
    const { known, ahead } = this.#confirmed
    const changes = [...ahead, ...this.#flight?.changes ?? [], ...this.#waiting]
    const first = known === undefined ? changes.findIndex(({ isWhole }) => isWhole) : 0
    const { value } = makeAll(first === -1 ? [] : changes.slice(first), known?.value)
    this.#shown.show(value, known !== undefined)
  }

  readonly #dropped = (cause: unknown): void => {
    this.#host.onError(new DatasoleError('CONFLICT', `a change of "${this.key}" does not apply to the newer value: ${messageOf(cause)}`, { cause }))
  }

  /** Resolves `saved()`, and ends a closed channel. */
  #settle (): void {
    if (this.pending > 0) return
    for (const resolve of this.#saved.splice(0)) resolve()
    if (!this.#isClosed) return
    clearTimeout(this.#timer)
    this.#host.ended(this.key)
  }

  #unwritable (): DatasoleError {
    return new DatasoleError('UNKNOWN_KEY', `the server takes no changes of "${this.key}": declare it by live.createSyncChannel, with a direction that lets clients write`)
  }
}
