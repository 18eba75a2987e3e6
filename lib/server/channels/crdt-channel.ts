import type { CrdtOp, CrdtType } from '../../crdt/crdt.js'
import { crdtOf } from '../../crdt/types.js'
import { diff } from '../../protocol/diff.js'
import { Document } from '../../protocol/document.js'
import { record } from '../../protocol/draft.js'
import { DatasoleError } from '../../protocol/errors.js'
import { clonePlain, copyJson } from '../../protocol/json.js'
import type { Operation } from '../../protocol/messages.js'
import type { CrdtDocument } from '../crdts/crdt-document.js'
import { type CrdtEdit, editsBetween } from '../crdts/crdt-values.js'
import type { CrdtSink, CrdtSinkChannel, Crdts } from '../crdts/crdts.js'
import type { Flushed } from './flush-handlers.js'
import type { Scope } from '../scope/scope.js'
import { type ChannelHost, SharedChannel } from './shared-channel.js'
import type { StateStore } from '../store/state-store.js'
import type { ChannelSettings } from './sync-channel.js'
import type { Recipe, ValueCheck } from '../store/write.js'

/** The node id of the initial value. It is the same on every node, so that the value is merged only once. */
const INITIAL = '$initial'

/** Most writes that wait. */
const MAX_WAITING = 10_000

/** A shared channel of mode `crdt`. Its value is a CRDT key. */
export class CrdtChannel extends SharedChannel implements CrdtSinkChannel {
  readonly takesPushes = false
  readonly #crdts: Crdts
  readonly #type: CrdtType
  readonly #maxDepth: number
  readonly #contract: ValueCheck | undefined
  /** The value of the last flush to the handlers. */
  #lastFlushed: unknown
  /** Settles when the last write does. */
  #last: Promise<unknown> = Promise.resolve()
  #waiting = 0

  constructor (host: ChannelHost, crdts: Crdts, settings: ChannelSettings, type: CrdtType, maxDepth: number, contract: ValueCheck | undefined, scope: Scope) {
    super(host, settings, scope)
    this.#crdts = crdts
    this.#type = type
    this.#maxDepth = maxDepth
    this.#contract = contract
    // throws if the type cannot have this value
    if (this.initialValue !== undefined) editsBetween(type, undefined, this.initialValue)
  }

  protected override get store (): StateStore { return this.host.storesOf(this.scope).crdt }

  sinkFor (): CrdtSink | undefined { return this.direction === 'bidirectional' ? this.#crdts : undefined }

  get (): Promise<unknown> {
    this.host.use(this.key)
    return this.#crdts.value(this.key)
  }

  /** Applies the operations that turn the current value into this one. They merge with concurrent operations. */
  async set (value: unknown): Promise<Operation[]> {
    const after = copyJson(value, this.#maxDepth)
    return await this.#become(() => after)
  }

  async update (recipe: Recipe<unknown>): Promise<Operation[]> {
    return await this.#become((before) => {
      const after = new Document(clonePlain(before))
      after.apply(record(after, recipe, this.#maxDepth))
      return after.value
    })
  }

  protected override ended (): void {
    super.ended()
    this.#crdts.unregister(this.key)
  }

  protected start (): Promise<void> {
    return this.#inTurn(async () => {
      if (this.initialValue !== undefined && await this.#crdts.isNew(this.key)) {
        let seq = 0
        for (const edit of editsBetween(this.#type, undefined, this.initialValue)) await this.#apply({ ...edit, nodeId: INITIAL, timestamp: 0, seq: ++seq })
      }
      this.#lastFlushed ??= await this.get()
    })
  }

  protected take (): Flushed | undefined {
    const document = this.replica?.document.value as CrdtDocument | undefined
    if (this.handlers.size === 0 || document === undefined) return undefined
    const value = clonePlain(crdtOf(document.type).value(document))
    const patches = value === undefined ? [] : diff(this.#lastFlushed, value, this.#maxDepth)
    this.#lastFlushed = value
    return patches.length === 0 ? undefined : { value: clonePlain(value), patches }
  }

  /** Runs this node's writes one after the other, so that each starts from the result of the last. */
  #inTurn<T> (write: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) throw new DatasoleError('BUSY', `${MAX_WAITING} writes of "${this.key}" already wait; try again later`)
    this.#waiting++
    const written = this.#last.then(write).finally(() => { this.#waiting-- })
    this.#last = written.catch(() => {}) // the writer gets the error
    return written
  }

  #become (make: (before: unknown) => unknown): Promise<Operation[]> {
    this.host.use(this.key)
    return this.#inTurn(async () => {
      const before = await this.get()
      const after = make(before)
      this.#contract?.(after, [''])
      await Promise.all(editsBetween(this.#type, before, after).map((edit) => this.#apply(edit)))
      return diff(before, after, this.#maxDepth)
    })
  }

  #apply (edit: CrdtEdit & Partial<CrdtOp>): Promise<void> {
    return this.#crdts.apply(this.key, { type: this.#type, ...edit }, true)
  }
}
