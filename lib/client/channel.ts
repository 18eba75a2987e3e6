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

/** ms: the bound of the wait after a second conflict in a row; it doubles up to the most. */
const FIRST_WAIT = 80
const MAX_WAIT = 2000

export interface ChannelHost {
  readonly isConnected: boolean
  nextId (): number
  /** A number that no push of this client has had. */
  nextPush (): { client: string, seq: number }
  send (opcode: number, correlationId: number, json: string): void
  onError (error: unknown): void
  /** Nobody needs the channel any more. */
  ended (key: string): void
}

/**
 * A key that this client writes as well. What it shows is the server's value with the changes on top that
 * the server does not have yet; where others were first, they are made again on what those have made.
 */
export class Channel<T = unknown> {
  readonly #host: ChannelHost
  readonly #saved: (() => void)[] = []
  #info: ChannelInfo | undefined
  /** The server has answered the subscription on this connection. */
  #isAnswered = false
  readonly #confirmed = new AckedValue()
  #flight: InFlightPush | undefined
  #waiting: Change[] = []
  readonly #shown: OptimisticValue
  /** After a conflict: the value that it was about is on its way. */
  #awaitsValue = false
  #conflicts = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  #isScheduled = false
  #tick = 0
  /** Changes that the server refused together, and that go one tick at a time. */
  #apart = 0
  #hasWritten = false
  #isClosed = false

  /** @internal */
  constructor (readonly key: string, host: ChannelHost) {
    this.#host = host
    this.#shown = new OptimisticValue((error) => { host.onError(error) })
  }

  /** The value as it is here: what the server has, and the changes that it does not have yet. It is frozen. */
  get (): DeepReadonly<T> | undefined { return this.#shown.value as DeepReadonly<T> | undefined }

  /** Changes that the server has not acknowledged. */
  get pending (): number { return (this.#flight?.changes.length ?? 0) + this.#waiting.length }

  /**
   * Changes the value at once, and at the server as soon as it can be reached. What one tick changes
   * travels together.
   * @param recipe changes a draft, or returns a new value; of a key without a value it gets `undefined`. If another
   *   client was first, it runs again on the new value; if it throws then, it is dropped, and `onError` hears of
   *   it. If the value is not known yet, it runs once it is.
   * @throws what the recipe throws; DatasoleError `BUSY` where 1,000 changes or 4 MiB wait already, `UNKNOWN_KEY`
   *   where the server takes no changes of this key, `CLOSED`
   */
  update (recipe: (draft: T | undefined) => T | DeepReadonly<T> | void): void {
    this.#add({ recipe: recipe as Change['recipe'], isWhole: false, size: 0, tick: this.#tick })
  }

  /**
   * The new value, whole: where others were first, it replaces what they made.
   * @throws TypeError (`INVALID_JSON`) for what JSON cannot hold, and as `update`
   */
  set (value: T | DeepReadonly<T>): void {
    this.#add(wholeChange(value, this.#tick))
  }

  /** Hears the value as soon as it is known, and after each change, one's own included. Returns its unsubscriber. */
  subscribe (handler: ChannelHandler<T>): Unsubscribe {
    return this.#shown.subscribe(handler as ChannelHandler)
  }

  /** Resolves once nothing waits for the server any more, be it acknowledged or refused: of refusals the client's `onError` hears. */
  saved (): Promise<void> {
    return this.pending === 0 ? Promise.resolve() : new Promise((resolve) => { this.#saved.push(resolve) })
  }

  /** Takes no more changes; those that wait are still sent. Handlers hear nothing more. */
  close (): void {
    if (this.#isClosed) return // the key may have another channel by now
    this.#isClosed = true
    this.#shown.clear()
    this.#push()
    this.#settle()
  }

  /** @internal Somebody wants it again. */
  reopen (): void { this.#isClosed = false }

  get #isWritable (): boolean { return this.#info !== undefined && this.#info.direction !== 'server-to-client' && this.#info.mode !== 'crdt' }

  /** @internal Before the subscription is asked for again: so the answer has the push in it, if it was a repetition. */
  connected (): void {
    if (this.#flight === undefined) return
    if (this.#info?.direction !== 'client-to-server') return this.#send(this.#flight)
    // the copy that it was for has gone with its connection
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

  /** @internal The replica has taken in a message about the key. */
  received (message: StatePatch | StateSnapshot, isSnapshot: boolean, isAnswer: boolean, { head, value }: StateReplica): void {
    if (isSnapshot || isAnswer) {
      this.#info = message.channel
      this.#awaitsValue = false
    }
    if (isAnswer) this.#isAnswered = true
    if (head === undefined) return
    const before = this.#confirmed.learn({ ...head, value })
    if (before !== undefined && this.#hasWritten && this.#info?.direction === 'client-to-server') {
      // the copy on this connection is a new one, and does not have what the last one had
      if (before.value !== undefined) this.#waiting.unshift(wholeChange(before.value, -1))
      this.#hasWritten = false
    }
    this.#remake()
    this.#schedule()
  }

  /** @internal @returns whether it was about this channel */
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

  /** @internal @returns whether it was about this channel */
  refused (id: number, { code, message, retryAfter }: Pick<ErrorMessage, 'message' | 'retryAfter'> & { code: string }): boolean {
    const flight = this.#flight
    if (flight === undefined || flight.id !== id) return false
    flight.id = 0
    if (retryAfter !== undefined) {
      // it may have been taken all the same: the very same again
      this.#wait(retryAfter)
      return true
    }
    this.#flight = undefined
    if (code === 'CONFLICT') {
      this.#waiting.unshift(...flight.changes)
      this.#awaitsValue = true
      if (this.#conflicts++ > 0) this.#wait(Math.random() * Math.min(MAX_WAIT, FIRST_WAIT * 2 ** (this.#conflicts - 2)))
    } else if (flight.changes.at(-1)!.tick !== flight.changes[0]!.tick) {
      // it is one of them, or that they are so many
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

  /** @internal The server does not let us see the key: so it has nothing that our changes could be made on. */
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
    // of those before a whole one nothing is left
    const before = change.isWhole ? [] : this.#waiting
    checkRoom(this.key, [...before, change], this.#flight?.changes.length)
    this.#waiting = before
    this.#waiting.push(change)
    this.#schedule()
    this.#shown.show(value, false)
  }

  /** Once per tick, so that what one tick changes is one push. */
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

  /** What is shown, from what is known: each change again. What the value before them is has to be known, or does not matter. */
  #remake (): void {
    const { known, ahead } = this.#confirmed
    const changes = [...ahead, ...this.#flight?.changes ?? [], ...this.#waiting]
    const first = known === undefined ? changes.findIndex(({ isWhole }) => isWhole) : 0
    const { value } = makeAll(first === -1 ? [] : changes.slice(first), known?.value)
    this.#shown.show(value, known !== undefined)
  }

  readonly #dropped = (cause: unknown): void => {
    this.#host.onError(new DatasoleError('CONFLICT', `a change of "${this.key}" cannot be made any more, after what others did: ${messageOf(cause)}`, { cause }))
  }

  /** The callers that wait for the last acknowledgement, and for the end. */
  #settle (): void {
    if (this.pending > 0) return
    for (const resolve of this.#saved.splice(0)) resolve()
    if (!this.#isClosed) return
    clearTimeout(this.#timer)
    this.#host.ended(this.key)
  }

  #unwritable (): DatasoleError {
    return new DatasoleError('UNKNOWN_KEY', `the server takes no changes of "${this.key}": live.createSyncChannel declares it there, with a direction in which clients write`)
  }
}
