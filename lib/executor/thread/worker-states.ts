import { Document } from '../../protocol/document.js'
import { record } from '../../protocol/draft.js'
import { DatasoleError, invalidArgument } from '../../protocol/errors.js'
import { copyJson } from '../../protocol/json.js'
import type { Head, Operation } from '../../protocol/messages.js'
import type { MainLink } from './main-link.js'

/** Changes a draft of the value, or returns a new value; synchronous. It may run again. Gets `undefined` if the key has no value. */
export type Recipe<T> = (draft: T | undefined) => T | void

/** Maximum number of runs of a recipe after conflicts. */
const MAX_TRIES = 1000

/** A value as JSON text, and the head of its key. */
type Read = Head & { value?: string }

/** State in a thread. Recipes run here; the main thread stores and commits the values. */
export class WorkerStates {
  readonly #link: MainLink
  readonly #maxDepth: number
  /** The last update of each key. The next one waits for it, so that updates of one thread do not conflict. */
  readonly #updates = new Map<string, Promise<unknown>>()

  constructor (link: MainLink, maxDepth: number) {
    this.#link = link
    this.#maxDepth = maxDepth
  }

  async set (key: string, value: unknown, live: boolean): Promise<Operation[]> {
    return await this.#link.request('set', checkKey(key), copyJson(value, this.#maxDepth), live) as Operation[]
  }

  async get (key: string): Promise<unknown> {
    const { value } = await this.#link.request('read', checkKey(key)) as Read
    return value === undefined ? undefined : JSON.parse(value)
  }

  async delete (key: string): Promise<boolean> {
    return await this.#link.request('delete', checkKey(key)) as boolean
  }

  async update (key: string, recipe: Recipe<unknown>, live: boolean): Promise<Operation[]> {
    checkKey(key)
    if (typeof recipe !== 'function') throw invalidArgument(`update("${key}"): the recipe must be a function`)
    const before = this.#updates.get(key)
    const update = this.#inTurn(before, key, recipe, live)
    this.#updates.set(key, update)
    try {
      return await update
    } finally {
      if (this.#updates.get(key) === update) this.#updates.delete(key)
    }
  }

  async #inTurn (before: Promise<unknown> | undefined, key: string, recipe: Recipe<unknown>, live: boolean): Promise<Operation[]> {
    await before?.catch(() => {}) // its own caller gets the error
    let base = await this.#link.request('read', key) as Read
    for (let i = 0; i < MAX_TRIES; i++) {
      const { epoch, version, value } = base
      const document = new Document(value === undefined ? undefined : JSON.parse(value))
      const patches = record(document, recipe, this.#maxDepth)
      const newer = await this.#link.request('patch', key, { epoch, version }, patches, live) as Read | undefined
      if (newer === undefined) return patches
      base = newer
    }
    throw new DatasoleError('CONFLICT', `update("${key}"): another write was first in each of ${MAX_TRIES} tries; try again later`)
  }
}

function checkKey (key: string): string {
  if (typeof key !== 'string') throw invalidArgument('the key of a state must be a string')
  return key
}
