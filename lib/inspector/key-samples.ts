import type { Core } from '../server/core.js'
import type { Replica } from '../server/store/replica.js'
import type { StateStore } from '../server/store/state-store.js'
import { FRESH, type KeyDetail, type KeyRef, type KeyRow, MAX_ROWS, MAX_VALUE, type NodeAnswer } from './views.js'

/** Maximum number of keys in a sample. */
const MAX_KEYS = 50_000
/** Maximum number of commits of one key, and of characters of each. */
const MAX_COMMITS = 20
const MAX_PATCHES = 4096
/** Maximum number of characters of all key names in one table. A single name may have 8,192. */
const MAX_NAMES = 128 * 1024
/** Maximum size in bytes of a value to convert to text. A larger value would block the event loop for too long. */
const MAX_TEXT = 4 * 1024 * 1024

type Row = Omit<KeyRow, 'nodes'>

interface Sampled { replica: Replica, scope: string, kind: string, subscribers: number, rate: number }

/** The kind of a store's keys, from the store's prefix. For sessions of a scope it includes the scope's number. */
const kindOf = (store: StateStore): string => store.prefix.slice(0, -1)

export const idOf = ({ scope, kind, key }: KeyRef): string => `${scope}|${kind}|${key}`

/** Samples the keys that this node has in memory. */
export class KeySamples {
  readonly #core: Core
  /** Versions at the last sample. */
  #seen = new Map<Replica, number>()
  #rows: Sampled[] = []
  #sampledAt = -Infinity

  constructor (core: Core) {
    this.#core = core
  }

  /** Number of keys in memory on this node, including those without a value. */
  get count (): number {
    let count = 0
    for (const { store } of this.#stores()) count += store.size
    return count
  }

  /** The numbers of a key in compact patches. */
  numbersOf (key: string): number[] {
    const sources = Array.from(this.#stores(), ({ store }) => this.#core.keyspace.subscriptions.sourcesOf(store).get(key)?.number)
    return sources.filter((number) => number !== undefined)
  }

  #sample (): void {
    const now = performance.now()
    if (now - this.#sampledAt < FRESH) return
    const seconds = (now - this.#sampledAt) / 1000
    this.#sampledAt = now
    const seen = new Map<Replica, number>()
    const rows: Sampled[] = []
    for (const { store, scope } of this.#stores()) {
      const kind = kindOf(store)
      const sources = this.#core.keyspace.subscriptions.sourcesOf(store)
      for (const replica of store.replicas()) {
        if (rows.length === MAX_KEYS || replica.version === 0) continue
        const { version } = replica
        seen.set(replica, version)
        rows.push({ replica, scope, kind, subscribers: sources.get(replica.key)?.subscriptions.size ?? 0, rate: (version - (this.#seen.get(replica) ?? version)) / seconds })
      }
    }
    this.#seen = seen
    this.#rows = rows.sort((a, b) => b.rate - a.rate || b.subscribers - a.subscribers)
  }

  /** The most active rows whose name, scope or kind contains the filter. */
  view (filter: string): NonNullable<NodeAnswer['keys']>[number] {
    this.#sample()
    const wanted = filter.toLowerCase()
    const found = wanted === '' ? this.#rows : this.#rows.filter(({ replica, scope, kind }) => [replica.key, scope, kind].some((text) => text.toLowerCase().includes(wanted)))
    const rows: Record<string, Row> = {}
    let size = 0
    for (const { replica: { key, version, live: isLive, document }, scope, kind, subscribers, rate } of found.slice(0, MAX_ROWS)) {
      size += key.length
      if (size > MAX_NAMES) break
      rows[idOf({ scope, kind, key })] = { scope, kind, key, version, bytes: document.size, isLive, rate: Math.round(rate * 10) / 10, subscribers }
    }
    return { filter, count: found.length, total: this.#rows.length, rows }
  }

  /** The key in this node's memory. */
  detail (ref: KeyRef): Omit<KeyDetail, 'node' | 'missing'> {
    const replica = this.storeOf(ref)?.held(ref.key)
    return replica === undefined ? { ...ref, isThere: false, epoch: '', version: 0, bytes: 0, isLive: false, text: '', isCut: false, commits: [] } : detailOf(ref, replica)
  }

  /** The store of a key; undefined if this node does not have the scope or kind. */
  storeOf ({ scope, kind }: KeyRef): StateStore | undefined {
    for (const each of this.#stores()) if (each.scope === scope && kindOf(each.store) === kind) return each.store
    return undefined
  }

  * #stores (): IterableIterator<{ store: StateStore, scope: string }> {
    for (const [storage, scope] of this.#core.keyspace.storages.names) for (const store of storage.stores) yield { store, scope }
  }
}

export function detailOf (ref: KeyRef, replica: Replica): Omit<KeyDetail, 'node' | 'missing'> {
  const { epoch, version, live: isLive, document } = replica
  const isTooLarge = document.size > MAX_TEXT
  const text = version === 0 || isTooLarge ? '' : JSON.stringify(document.value) ?? ''
  const commits = replica.lastCommits(MAX_COMMITS).reverse().map(({ version, patches }) => ({ version, patches: patches.slice(0, MAX_PATCHES), isCut: patches.length > MAX_PATCHES }))
  return { ...ref, isThere: isTooLarge || text !== '', epoch, version, bytes: document.size, isLive, text: text.slice(0, MAX_VALUE), isCut: isTooLarge || text.length > MAX_VALUE, commits }
}
