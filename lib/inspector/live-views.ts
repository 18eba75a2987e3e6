import type { Core } from '../server/core.js'
import type { StateStore } from '../server/store/state-store.js'
import { mergeConnections, mergeKeys, mergeMethods, mergeNodes } from './merge.js'
import { askNodes } from './nodes-asker.js'
import { type Ask, MAX_FILTER, type Overview } from './views.js'

/** Interval of samples in ms. */
const PERIOD = 1000
/** Tables are refreshed at every second sample, because changes of tables are most of the inspector's cost. */
const TABLES = 2
/** Samples without a subscriber after which sampling stops. A new subscription may not be registered at once. */
const PATIENCE = 2

/** Parses a key of the inspector's own server as a view; undefined if it is not a view. */
export function viewOf (key: string): { kind: 'overview' | 'methods' } | { kind: 'connections' | 'keys', filter: string } | undefined {
  if (key === 'overview' || key === 'methods') return { kind: key }
  const [, kind, filter] = /^(connections|keys):(.*)$/s.exec(key) ?? []
  return kind === undefined || filter!.length > MAX_FILTER ? undefined : { kind: kind as 'connections' | 'keys', filter: filter! }
}

/**
 * Refreshes the live state of the inspector's own server while there are subscribers: the overview once a second, tables
 * every two seconds. One request asks all nodes for the subscribed views only.
 */
export class LiveViews {
  readonly #outer: Core
  readonly #inner: Core
  readonly #shown = new Set<string>()
  #timer: NodeJS.Timeout | undefined
  #isRunning = false
  #idle = 0
  #samples = 0
  #isStopped = false

  /** @param outer the inspected server @param inner the viewers' server */
  constructor (outer: Core, inner: Core) {
    this.#outer = outer
    this.#inner = inner
  }

  /** Whether a sample is running or scheduled. */
  get isLooking (): boolean { return this.#isRunning || this.#timer !== undefined }

  /** Takes a sample at once, because a viewer subscribes. */
  wake (): void {
    this.#idle = 0
    if (this.#isRunning) return
    clearTimeout(this.#timer)
    // wait for a turn: the subscription is registered only after its hooks have run
    this.#timer = setTimeout(() => { void this.#run() }, 0)
  }

  stop (): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  async #run (): Promise<void> {
    this.#isRunning = true
    this.#timer = undefined
    try {
      await this.#refresh()
    } catch (error) {
      this.#outer.repeats.warn({ err: error }, 'the inspector could not refresh its views')
    }
    this.#isRunning = false
    if (this.#isStopped || this.#idle >= PATIENCE) return
    this.#timer = setTimeout(() => { void this.#run() }, PERIOD).unref()
  }

  async #refresh (): Promise<void> {
    const store = this.#inner.keyspace.storages.root.state
    const wanted = [...this.#inner.keyspace.subscriptions.sourcesOf(store).keys()]
    this.#idle = wanted.length === 0 ? this.#idle + 1 : 0
    for (const key of this.#shown) if (!wanted.includes(key)) await this.#forget(store, key)
    const due = this.#samples++ % TABLES === 0 ? wanted : wanted.filter((key) => key === 'overview' || !this.#shown.has(key))
    if (due.length === 0) return
    const { answers, missing } = await askNodes(this.#outer, askFor(due))
    for (const key of due) {
      const view = viewOf(key)
      if (view === undefined) continue
      this.#shown.add(key)
      await store.set(key, this.#valueOf(view, answers, missing), true)
    }
  }

  #valueOf (view: NonNullable<ReturnType<typeof viewOf>>, answers: Parameters<typeof mergeMethods>[0], missing: readonly string[]): unknown {
    if ('filter' in view) return view.kind === 'keys' ? mergeKeys(view.filter, answers) : mergeConnections(view.filter, answers)
    if (view.kind === 'methods') return mergeMethods(answers)
    const cards = this.#outer.cluster.nodes()
    return { at: Date.now(), viewers: this.#inner.hub.size, nodes: mergeNodes(cards, cards[0]!.node, answers, missing) } satisfies Overview
  }

  async #forget (store: StateStore, key: string): Promise<void> {
    this.#shown.delete(key)
    await store.delete(key)
  }
}

/** One request for all views. */
function askFor (keys: readonly string[]): Ask {
  const ask: Ask = {}
  for (const key of keys) {
    const view = viewOf(key)
    if (view === undefined) continue
    if ('filter' in view) (ask[view.kind] ??= []).push(view.filter)
    else ask[view.kind] = true
  }
  return ask
}
