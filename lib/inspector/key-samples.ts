import type { Core } from '../server/core.js'
import type { Replica } from '../server/store/replica.js'
import type { StateStore } from '../server/store/state-store.js'
import { FRESH, type KeyDetail, type KeyRef, type KeyRow, MAX_ROWS, MAX_VALUE, type Told } from './views.js'

/** Keys that a node looks at in a sample. */
const MAX_KEYS = 50_000
/** Commits of one key, and characters of each. */
const MAX_COMMITS = 20
const MAX_PATCHES = 4096
/** Characters of the names in one table, all together: each may have 8,192. */
const MAX_NAMES = 128 * 1024
/** Bytes of a value that is written as text: a larger one would keep the process busy for too long. */
const MAX_TEXT = 4 * 1024 * 1024

type Row = Omit<KeyRow, 'nodes'>

interface Sampled { replica: Replica, scope: string, kind: string, subscribers: number, rate: number }

/** The kinds of keys, by the prefix of their store: sessions of a scope have its number in theirs. */
const kindOf = (store: StateStore): string => store.prefix.slice(0, -1)

export const idOf = ({ scope, kind, key }: KeyRef): string => `${scope}|${kind}|${key}`

/** The keys that this node holds, from sample to sample. */
export class KeySamples {
  readonly #core: Core
  /** Versions at the last sample. */
  #seen = new Map<Replica, number>()
  #rows: Sampled[] = []
  #sampledAt = -Infinity

  constructor (core: Core) {
    this.#core = core
  }

  /** Keys that this node holds, those without a value included. */
  get count (): number {
    let count = 0
    for (const { store } of this.#stores()) count += store.size
    return count
  }

  /** The numbers that stand for a key in compact patches. */
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

  /** The most active rows that have the filter in their name, scope or kind. */
  view (filter: string): NonNullable<Told['keys']>[number] {
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

  /** As this node holds it. */
  detail (ref: KeyRef): Omit<KeyDetail, 'node' | 'missing'> {
    const replica = this.storeOf(ref)?.held(ref.key)
    return replica === undefined ? { ...ref, isThere: false, epoch: '', version: 0, bytes: 0, isLive: false, text: '', isCut: false, commits: [] } : detailOf(ref, replica)
  }

  /** The store of a key; undefined where this node has no such scope or kind. */
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
