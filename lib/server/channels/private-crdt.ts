import { HybridClock } from '../../crdt/clock.js'
import type { CrdtType } from '../../crdt/crdt.js'
import { crdtOf } from '../../crdt/types.js'
import { diff } from '../../protocol/diff.js'
import { coded } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import { jsonSize } from '../../protocol/json-size.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { ConnectionContext } from '../context/connection-context.js'
import type { PrivateHost, PrivateValue } from './private-json.js'
import { type Change, type CrdtDocument, change, emptyDocument, forget } from '../crdts/crdt-document.js'
import { stateMessage } from '../crdts/crdt-messages.js'
import { editsBetween, valueAfter } from '../crdts/crdt-values.js'
import { encodeMessage } from '../connection/encoding.js'
import { FlushQueue, type Flushed } from './flush-handlers.js'
import { FlushClock } from './flush-strategy.js'
import { answerAll } from '../keys/source.js'
import type { Subscription } from '../keys/subscription.js'

/** A connection's own CRDT in a `client-to-server` channel of mode `crdt`, in the memory of the connection's node. */
export class PrivateCrdt implements PrivateValue {
  readonly subscriptions = new Set<Subscription>()
  readonly #host: PrivateHost
  readonly #document: CrdtDocument
  readonly #epoch: string = crypto.randomUUID()
  readonly #hybrid = new HybridClock()
  readonly #clock: FlushClock
  readonly #line: FlushQueue
  #version = 1
  /** Upper bound of the document's size in bytes. */
  #size: number
  #lastFlushed: unknown

  constructor (host: PrivateHost, connection: ConnectionContext, type: CrdtType) {
    this.#host = host
    this.#document = emptyDocument(type)
    const { initialValue } = host
    for (const edit of initialValue === undefined ? [] : editsBetween(type, undefined, clonePlain(initialValue))) {
      crdtOf(type).apply(this.#document, { type, nodeId: '$initial', timestamp: 0, ...edit })
    }
    this.#size = jsonSize(this.#document)
    this.#lastFlushed = this.value
    this.#line = new FlushQueue(host.handlers, connection, () => this.#take())
    this.#clock = new FlushClock(host.rule, () => {
      for (const subscription of this.subscriptions) subscription.connection.markStale(subscription)
      this.#line.due()
    })
  }

  get value (): unknown { return clonePlain(crdtOf(this.#document.type).value(this.#document)) }

  /** Applies an operation of the connection, and calls `done` or `failed` of the change. */
  write (_key: string, made: Change): void {
    const size = made.op === undefined ? 0 : 2 * jsonSize(made.op)
    if (this.#size + size > this.#host.check.maxBytes) this.#shrink()
    if (this.#size + size > this.#host.check.maxBytes) return made.failed(coded(new RangeError(`the connection's own value is over maxBytes (${this.#host.check.maxBytes} bytes of JSON)`), 'LIMIT_EXCEEDED'))
    try {
      if (made.op !== undefined) made.check?.(valueAfter(this.value, made.op))
    } catch (error) {
      return made.failed(error)
    }
    const result = change(this.#document, made, this.#hybrid)
    if (result === 'changed') {
      this.#size += size
      this.#version++
    }
    made.done(result)
    if (result === 'changed') this.#clock.changed()
  }

  flush (): Promise<void> {
    this.#clock.flush()
    return this.#line.settled()
  }

  catchUp (subscription: Subscription): boolean {
    const { asked, nodeId = '' } = subscription
    const version = this.#version
    if (asked === undefined && subscription.epoch === this.#epoch && subscription.version === version) return true
    const { key, info: channel, compressionThreshold } = this.#host
    const json = JSON.stringify({ key, epoch: this.#epoch, version, state: stateMessage(this.#document, version, nodeId), channel })
    return answerAll(subscription, (id) => [encodeMessage(Opcode.CRDT_STATE, id, json, compressionThreshold)], () => {
      subscription.epoch = this.#epoch
      subscription.version = version
    })
  }

  #shrink (): void {
    forget(this.#document)
    this.#size = jsonSize(this.#document)
  }

  #take (): Flushed | undefined {
    const { value } = this
    const patches = value === undefined ? [] : diff(this.#lastFlushed, value, this.#host.check.maxDepth)
    this.#lastFlushed = value
    return patches.length === 0 ? undefined : { value: clonePlain(value), patches }
  }
}
