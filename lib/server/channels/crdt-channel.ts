import { setTimeout } from 'node:timers/promises'
import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import { crdtOf } from '../../crdt/types.js'
import { diff } from '../../protocol/diff.js'
import { Document } from '../../protocol/document.js'
import { record } from '../../protocol/draft.js'
import { clonePlain, copyJson } from '../../protocol/json.js'
import type { ChannelDirection, ChannelInfo, Operation } from '../../protocol/messages.js'
import type { CrdtDocument } from '../crdts/crdt-document.js'
import { type CrdtEdit, editsBetween } from '../crdts/crdt-values.js'
import type { CrdtWay, Crdts } from '../crdts/crdts.js'
import { type FlushHandler, FlushHandlers, FlushLine, type Flushed } from './flush-handlers.js'
import { FlushClock } from './flush-strategy.js'
import type { Scope } from '../hooks.js'
import type { KeyChannel } from '../state/key-channel.js'
import type { Replica } from '../state/replica.js'
import type { ChannelHost } from './shared-channel.js'
import type { ChannelSettings, SyncChannel } from './sync-channel.js'
import type { Recipe } from '../state/write.js'

/** ms before a channel that could not be opened is tried again. */
const RETRY = 1000

/** Who sets the first value: the same one on every node, so that it counts once. */
const INITIAL = '$initial'

/**
 * A channel of mode `crdt` whose value all clients share: a CRDT key like any other, whose fan-out and
 * handlers the channel holds back.
 */
export class CrdtChannel implements SyncChannel, KeyChannel, CrdtWay {
  readonly key: string
  readonly direction: ChannelDirection
  readonly mode = 'crdt'
  readonly takesPushes = false
  readonly info: ChannelInfo
  readonly #host: ChannelHost
  readonly #crdts: Crdts
  readonly #type: CrdtType
  readonly #initialValue: unknown
  readonly #maxDepth: number
  readonly #handlers: FlushHandlers
  readonly #line: FlushLine
  readonly #clock: FlushClock
  #replica: Replica | undefined
  /** The version that subscribers were given last, while newer ones wait; -1 where they have to be told the whole. */
  #from: number | undefined
  /** What the handlers know. */
  #told: unknown
  #isClosed = false

  constructor (host: ChannelHost, crdts: Crdts, { key, direction, flush, initialValue }: ChannelSettings, type: CrdtType, maxDepth: number, readonly scope: Scope) {
    this.#host = host
    this.#crdts = crdts
    this.#type = type
    this.#initialValue = initialValue
    this.#maxDepth = maxDepth
    this.key = key
    this.direction = direction
    this.info = { direction, mode: 'crdt' }
    this.#handlers = new FlushHandlers(key, host.log)
    this.#line = new FlushLine(this.#handlers, null, () => this.#take())
    this.#clock = new FlushClock(flush, () => { this.#flush() })
    // what cannot be a value of the type is found here
    if (initialValue !== undefined) editsBetween(type, undefined, initialValue)
  }

  get isIdle (): boolean { return this.#handlers.running === 0 }

  way (): Crdts | undefined { return this.direction === 'bidirectional' ? this.#crdts : undefined }

  /** Sees that the key has its first value. Never rejects: it is tried until the backend takes it. */
  async open (): Promise<void> {
    for (let isSaid = false; !this.#isClosed; await setTimeout(RETRY, undefined, { ref: false })) {
      try {
        if (this.#initialValue !== undefined && await this.#crdts.isNew(this.key)) {
          let seq = 0
          for (const edit of editsBetween(this.#type, undefined, this.#initialValue)) await this.#apply({ ...edit, nodeId: INITIAL, timestamp: 0, seq: ++seq })
        }
        this.#told ??= await this.get()
        return
      } catch (error) {
        if (!isSaid) this.#host.log.error({ err: error, key: this.key }, 'a channel could not be opened; it is tried again until it can')
        isSaid = true
      }
    }
  }

  get (): Promise<unknown> {
    return this.#crdts.value(this.key)
  }

  /** The operations that make this of the value: others', made meanwhile, are merged with them. */
  async set (value: unknown): Promise<Operation[]> {
    return await this.#become(await this.get(), copyJson(value, this.#maxDepth))
  }

  async update (recipe: Recipe<unknown>): Promise<Operation[]> {
    const before = await this.get()
    const after = new Document(clonePlain(before))
    after.apply(record(after, recipe, this.#maxDepth))
    return await this.#become(before, after.value)
  }

  flush (): Promise<void> {
    this.#clock.flush()
    return this.#line.settled()
  }

  onFlush (handler: FlushHandler): () => void {
    return this.#handlers.add(handler)
  }

  async close (): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#clock.flush()
    this.#host.closed(this.key)
    this.#crdts.unregister(this.key)
    await this.#line.settled()
  }

  moved (replica: Replica, from: number): void {
    this.#replica = replica
    if (this.#from === undefined || from === -1) this.#from = from
    this.#clock.changed(from === -1 ? 1 : replica.version - from)
  }

  disconnected (): void {} // the value is nobody's own

  async #become (before: unknown, after: unknown): Promise<Operation[]> {
    await Promise.all(editsBetween(this.#type, before, after).map((edit) => this.#apply(edit)))
    return diff(before, after, this.#maxDepth)
  }

  #apply (edit: CrdtEdit & Partial<CrdtOp>): Promise<void> {
    return this.#crdts.apply(this.key, { type: this.#type, ...edit })
  }

  #flush (): void {
    const from = this.#from
    this.#from = undefined
    if (from !== undefined) this.#crdts.mirrors.publish(this.key, from)
    this.#line.due()
  }

  #take (): Flushed | undefined {
    const document = this.#replica?.document.value as CrdtDocument | undefined
    if (this.#handlers.size === 0 || document === undefined) return undefined
    const value = clonePlain(crdtOf(document.type).value(document))
    const patches = value === undefined ? [] : diff(this.#told, value, this.#maxDepth)
    this.#told = value
    return patches.length === 0 ? undefined : { value: clonePlain(value), patches }
  }
}
