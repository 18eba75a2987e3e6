import { Histogram } from './histogram.js'
import type { NodeCard } from '../server/bus/bus.js'
import type { ClosedRow, ConnectionRow, ConnectionsView, KeyRow, KeysView, MethodRow, MethodSample, MethodsView, NodeAnswer, NodeView } from './views.js'
import { MAX_ROWS } from './views.js'

/** The answers of the nodes; undefined for a node without an inspector. */
export type AnswersByNode = ReadonlyMap<string, NodeAnswer | undefined>

/** Maximum number of nodes listed in a row. */
const MAX_NODES = 10
/** Maximum number of closed connections, for all nodes together. */
const MAX_CLOSED = 50

/** @param missing nodes that did not answer in time */
export function mergeNodes (cards: readonly NodeCard[], self: string, answers: AnswersByNode, missing: readonly string[]): Record<string, NodeView> {
  return Object.fromEntries(cards.map(({ node, host, pid, startedAt }) => {
    const state = missing.includes(node) || !answers.has(node) ? 'missing' : answers.get(node) === undefined ? 'unregistered' : 'here'
    return [node, { host, pid, startedAt, isSelf: node === self, state, ...answers.get(node)?.overview }]
  }))
}

/** The MAX_ROWS most active rows of all nodes, the most active first. */
function top<T> (rows: Array<[id: string, row: T]>, activity: (row: T) => number): Record<string, T> {
  return Object.fromEntries(rows.sort(([, a], [, b]) => activity(b) - activity(a)).slice(0, MAX_ROWS))
}

export function mergeConnections (filter: string, answers: AnswersByNode): ConnectionsView {
  const rows: Array<[string, ConnectionRow]> = []
  const closed: ClosedRow[] = []
  let count = 0
  let total = 0
  for (const [node, answer] of answers) {
    const view = answer?.connections?.find((each) => each.filter === filter)
    count += view?.count ?? 0
    total += view?.total ?? 0
    for (const [id, row] of Object.entries(view?.rows ?? {})) rows.push([id, { ...row, node }])
    closed.push(...(answer?.closed ?? []).map((each) => ({ ...each, node })))
  }
  closed.sort((a, b) => b.at - a.at)
  return { count, total, rows: top(rows, ({ bytesIn, bytesOut, bufferedBytes }) => bytesIn + bytesOut + bufferedBytes), closed: closed.slice(0, MAX_CLOSED) }
}

/** Merges keys. Nodes that share a backend have the same keys, so the counts are those of the node with the most. */
export function mergeKeys (filter: string, answers: AnswersByNode): KeysView {
  const merged = new Map<string, KeyRow>()
  let count = 0
  let total = 0
  for (const [node, answer] of answers) {
    const view = answer?.keys?.find((each) => each.filter === filter)
    count = Math.max(count, view?.count ?? 0)
    total = Math.max(total, view?.total ?? 0)
    for (const [id, row] of Object.entries(view?.rows ?? {})) {
      const known = merged.get(id)
      const newest = known === undefined || row.version > known.version ? row : known
      const nodes = [...known?.nodes ?? [], node].slice(0, MAX_NODES)
      merged.set(id, { ...newest, rate: Math.max(row.rate, known?.rate ?? 0), subscribers: row.subscribers + (known?.subscribers ?? 0), nodes })
    }
  }
  return { count: Math.max(count, merged.size), total: Math.max(total, merged.size), rows: top([...merged], ({ rate, subscribers }) => rate * 1e6 + subscribers) }
}

export function mergeMethods (answers: AnswersByNode): MethodsView {
  const merged = new Map<string, { sample: MethodSample, histogram: Histogram }>()
  let since = Infinity
  let count = 0
  for (const answer of answers.values()) {
    since = Math.min(since, answer?.methods?.since ?? Infinity)
    count = Math.max(count, answer?.methods?.count ?? 0)
    for (const sample of answer?.methods?.rows ?? []) {
      const id = `${sample.kind} ${sample.name}`
      const known = merged.get(id)
      const histogram = known?.histogram ?? new Histogram()
      histogram.merge(sample.buckets, sample.sum, sample.max)
      const sum = known === undefined ? sample : { ...sample, scope: known.sample.scope || sample.scope, errors: known.sample.errors + sample.errors, rate: known.sample.rate + sample.rate }
      merged.set(id, { sample: sum, histogram })
    }
  }
  const rows = Array.from(merged, ([id, { sample: { kind, name, scope, errors, rate }, histogram }]): [string, MethodRow] => {
    const { count: calls, p50, p99, max } = histogram.quantiles()
    return [id, { kind, name, scope, calls, errors, rate: Math.round(rate * 10) / 10, mean: calls === 0 ? 0 : histogram.sum / calls, p50, p99, max }]
  })
  return { since: since === Infinity ? Date.now() : since, count: Math.max(count, merged.size), rows: top(rows, ({ rate, calls }) => rate * 1e9 + calls) }
}
