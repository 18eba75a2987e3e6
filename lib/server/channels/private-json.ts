import { randomUUID } from 'node:crypto'
import { diff } from '../../protocol/diff.js'
import { Document } from '../../protocol/document.js'
import { DatasoleError } from '../../protocol/errors.js'
import { clonePlain } from '../../protocol/json.js'
import type { ChannelInfo, Head, Operation } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { ConnectionContext, MessageContext } from '../context/connection-context.js'
import { encodeMessage } from '../connection/encoding.js'
import { type FlushHandlers, FlushQueue, type Flushed } from './flush-handlers.js'
import { FlushClock, type FlushRule } from './flush-strategy.js'
import type { Push } from './push.js'
import type { PushCheck } from './push-check.js'
import { answerAll } from '../keys/source.js'
import type { Source, Subscription } from '../keys/subscription.js'

/** Most characters of patches that wait for the handlers. Beyond that and the value's size, the value replaces them. */
const MAX_WAITING = 64 * 1024

/** The settings that all private values of a channel share. */
export interface PrivateHost {
  readonly key: string
  readonly info: ChannelInfo
  readonly rule: FlushRule
  readonly handlers: FlushHandlers
  readonly check: PushCheck
  readonly initialValue: unknown
  readonly compressionThreshold: number
}

/** A connection's own value, in any mode. */
export interface PrivateValue extends Source {
  /** A copy. */
  readonly value: unknown
  /** Flushes the pending changes to the handlers. Resolves when they have run. */
  flush (): Promise<void>
}

/** A connection's own value in a channel `client-to-server`. It is in memory, on the connection's node. */
export class PrivateJson implements PrivateValue {
  readonly subscriptions = new Set<Subscription>()
  readonly #host: PrivateHost
  readonly #document: Document
  readonly #epoch = randomUUID()
  #version: number
  #lastSeq = 0
  readonly #clock: FlushClock
  readonly #line: FlushQueue
  /** Patches that wait for the handlers, as JSON text; undefined if the whole value replaces them. */
  #waiting: string[] | undefined = []
  #waitingSize = 0

  constructor (host: PrivateHost, connection: ConnectionContext) {
    this.#host = host
    this.#document = new Document(clonePlain(host.initialValue))
    this.#version = host.initialValue === undefined ? 0 : 1
    this.#line = new FlushQueue(host.handlers, connection, () => this.#take())
    this.#clock = new FlushClock(host.rule, () => { this.#line.due() })
  }

  get value (): unknown { return clonePlain(this.#document.value) }
  get #head (): Head { return { epoch: this.#epoch, version: this.#version } }

  /**
   * Applies a push, unless it has been applied before. Call `changed` afterwards to notify the handlers.
   * @throws DatasoleError `CONFLICT`, PatchError, or a refusal of the check
   */
  push (push: Push, ctx: MessageContext): Head {
    if (push.seq <= this.#lastSeq) return this.#head
    const { check } = this.#host
    const patches = push.patches ?? diff(this.#document.value, push.data, check.maxDepth)
    // the value has only one writer, so a wrong base is an error
    if (push.patches !== undefined && (push.epoch !== this.#epoch || push.base !== this.#version)) throw new DatasoleError('CONFLICT', `the newest version is ${this.#version}`)
    if (patches.length === 0) return this.#head
    const text = JSON.stringify(patches)
    const mark = this.#document.mark()
    try {
      this.#document.apply(patches, check.limits(push.size))
      check.run(this.#document, ctx)
    } catch (error) {
      this.#document.rollback(mark)
      throw error
    }
    this.#document.release()
    this.#version++
    this.#lastSeq = push.seq
    this.#keep(text)
    return this.#head
  }

  /** Notifies the handlers of a push, after it was answered. */
  changed (): void {
    this.#clock.changed()
  }

  flush (): Promise<void> {
    this.#clock.flush()
    return this.#line.settled()
  }

  /** Sends the server's value only if the client asks, or if the two differ. Otherwise the client's value is newer. */
  catchUp (subscription: Subscription): boolean {
    const { asked } = subscription
    const { key, info: channel, compressionThreshold } = this.#host
    const head = this.#head
    if (asked === undefined && subscription.epoch === head.epoch && subscription.version >= 0) return true
    const json = JSON.stringify({ key, ...head, data: this.#document.value, channel })
    return answerAll(subscription, (id) => [encodeMessage(Opcode.STATE_SNAPSHOT, id, json, compressionThreshold)], () => {
      subscription.epoch = head.epoch
      subscription.version = head.version
    })
  }

  #keep (text: string): void {
    if (this.#waiting === undefined) return
    this.#waitingSize += text.length
    if (this.#waitingSize > Math.max(MAX_WAITING, this.#document.size)) this.#waiting = undefined
    else this.#waiting.push(text)
  }

  #take (): Flushed | undefined {
    const waiting = this.#waiting
    if (waiting?.length === 0) return undefined
    this.#waiting = []
    this.#waitingSize = 0
    const { value } = this
    if (waiting === undefined || this.#host.info.mode === 'snapshot') return { value, patches: [{ op: 'replace', path: '', value }] }
    return { value, patches: waiting.flatMap((text) => JSON.parse(text) as Operation[]) }
  }
}
