import type { HybridClock } from '../../crdt/clock.js'
import { crdtOf } from '../../crdt/types.js'
import { clonePlain } from '../../protocol/json.js'
import { DatasoleError } from '../../protocol/errors.js'
import { type Change, type CrdtDocument, type Result, change, emptyDocument, forget } from './crdt-document.js'
import { join } from './crdt-yjs.js'
import type { StateStore } from '../store/state-store.js'

/** Most changes in one commit, and most changes that wait. */
const MAX_BATCH = 1000
const MAX_WAITING = 10_000

/** Number of changes, or ms, after which old records are dropped. */
const FORGET_CHANGES = 1000
const FORGET_MS = 60 * 60 * 1000

/** Commits the changes of one key. Changes that arrive during a commit are merged into the next one. */
export class CrdtWriter {
  readonly #key: string
  readonly #store: StateStore
  readonly #clock: HybridClock
  readonly #isClaimed: () => boolean | Promise<boolean>
  #waiting: Change[] = []
  #isWriting = false
  #changes = 0
  #forgottenAt = -Infinity

  /** @param isClaimed whether the name belongs to live state, so that no CRDT may have it */
  constructor (key: string, store: StateStore, clock: HybridClock, isClaimed: () => boolean | Promise<boolean>) {
    this.#key = key
    this.#store = store
    this.#clock = clock
    this.#isClaimed = isClaimed
  }

  get isBusy (): boolean { return this.#isWriting }

  add (each: Change): void {
    if (this.#waiting.length >= MAX_WAITING) return each.failed(new DatasoleError('BUSY', `${MAX_WAITING} operations of "${this.#key}" already wait; try again later`))
    this.#waiting.push(each)
    if (!this.#isWriting) void this.#writeAll()
  }

  /** Never rejects: every change gets its result. */
  async #writeAll (): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH)
      try {
        await this.#write(batch)
      } catch (error) {
        if (batch.length === 1 || !isOfOne(error)) for (const each of batch) each.failed(error)
        // one change made the value invalid or too large, so commit each by itself
        else for (const each of batch) await this.#write([each]).catch((error: unknown) => { each.failed(error) })
      }
    }
    this.#isWriting = false
  }

  async #write (batch: Change[]): Promise<void> {
    if (await this.#isClaimed()) throw new DatasoleError('UNKNOWN_KEY', `"${this.#key}" is a key of live state, not a CRDT`)
    let results: Result[] = []
    const now = performance.now()
    const isDue = this.#changes >= FORGET_CHANGES || now - this.#forgottenAt >= FORGET_MS
    await this.#store.update(this.#key, (draft) => {
      // the recipe may run again after a conflict
      const document = (draft ?? emptyDocument(batch[0]!.type)) as CrdtDocument
      if (document.type === 'yjs') join(document)
      results = batch.map((each) => {
        const result = change(document, each, this.#clock)
        if (result === 'changed') each.check?.(clonePlain(crdtOf(document.type).value(document)))
        return result
      })
      if (isDue) forget(document)
      const isMade = draft === undefined && batch.some(({ op }, i) => op === undefined || results[i] === 'changed')
      return isMade ? document : undefined
    }, true)
    if (isDue) {
      this.#changes = 0
      this.#forgottenAt = now
    }
    this.#changes += batch.length
    for (const [i, each] of batch.entries()) each.done(results[i]!)
  }
}

function isOfOne (error: unknown): boolean {
  const { code } = error as { code?: unknown }
  return code === 'LIMIT_EXCEEDED' || code === 'INVALID_VALUE'
}
