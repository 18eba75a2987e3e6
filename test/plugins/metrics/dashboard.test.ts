import { readFileSync } from 'node:fs'
import { parser } from '@prometheus-io/lezer-promql'
import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../../index.js'
import { BACKEND_METRICS, HISTOGRAMS, METRICS } from '../../../lib/metrics/catalog.js'
import metrics from '../../../plugins/metrics.js'
import { parseExposition } from './exposition.js'

interface Panel {
  id: number
  type: string
  title: string
  datasource?: { type: string, uid: string }
  gridPos: { x: number, y: number, w: number, h: number }
  targets?: Array<{ refId: string, expr: string, legendFormat: string }>
}

interface Dashboard {
  __inputs: Array<{ name: string, type: string, pluginId: string }>
  __requires: Array<{ type: string, id: string }>
  id: null
  uid: string
  title: string
  schemaVersion: number
  panels: Panel[]
  templating: { list: Array<{ name: string, definition: string }> }
}

// from the repository's root: it is not compiled
const dashboard = JSON.parse(readFileSync('docs/grafana-dashboard.json', 'utf8')) as Dashboard
const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map((target) => ({ title, ...target })))

/** What a query selects and groups by. */
interface Use { metric: string, labels: string[], isRate: boolean, isQuantile: boolean }

/** @throws Error where the query is no PromQL */
function usesOf (expr: string): Use[] {
  const query = expr.replaceAll('$__rate_interval', '5m').replaceAll('$instance', '.*')
  const uses: Use[] = []
  const text = ({ from, to }: { from: number, to: number }): string => query.slice(from, to)
  parser.parse(query).iterate({
    enter (node) {
      if (node.type.isError) throw new Error(`no PromQL at ${node.from}: ${query}`)
      if (node.name !== 'VectorSelector') return
      const above: Array<{ name: string, source: string }> = []
      for (let { parent } = node.node; parent !== null; parent = parent.parent) above.push({ name: parent.name, source: text(parent) })
      const grouped = above.filter(({ name }) => name === 'AggregateExpr').flatMap(({ source }) => /^\w+ by \(([^)]*)\)/.exec(source)?.[1]!.split(',') ?? [])
      const matched = Array.from(text(node).matchAll(/(\w+)=~?"/g), ([, label]) => label!)
      uses.push({
        metric: /^\w+/.exec(text(node))![0],
        labels: [...grouped.map((label) => label.trim()), ...matched],
        isRate: above.some(({ name, source }) => name === 'FunctionCall' && source.startsWith('rate(')),
        isQuantile: above.some(({ source }) => source.startsWith('histogram_quantile('))
      })
    }
  })
  return uses
}

t.test('dashboard: a query that is wrong is found', async (t) => {
  t.throws(() => usesOf('sum(rate(a[5m])'), /no PromQL/)
  t.strictSame(usesOf('histogram_quantile(0.5, sum by (le, method) (rate(a_bucket{instance=~"$instance"}[$__rate_interval])))'), [{ metric: 'a_bucket', labels: ['le', 'method', 'instance'], isRate: true, isQuantile: true }])
  t.strictSame(usesOf('max(a) / b').map(({ metric, isRate }) => [metric, isRate]), [['a', false], ['b', false]])
})

t.test('dashboard: its queries are of metrics that a scrape has, by labels that they have', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(metrics)
  const families = parseExposition((await app.inject('/metrics')).body)
  const labelsOf = new Map<string, readonly string[]>([...[...METRICS, ...BACKEND_METRICS].map(({ name, labels }) => [name, labels] as const), ...HISTOGRAMS.map(({ name, label }) => [name, [label]] as const)])
  t.ok(queries.length >= 40, `${queries.length} queries`)
  const seen = new Set<string>()
  for (const { title, expr, legendFormat } of queries) {
    const uses = usesOf(expr)
    t.ok(uses.length > 0, title)
    for (const { metric, labels, isRate, isQuantile } of uses) {
      const base = families.has(metric) ? metric : metric.replace(/_(bucket|sum|count)$/, '')
      const type = families.get(base)?.type
      t.ok(type !== undefined, `${title}: ${metric} is in the exposition`)
      seen.add(base)
      t.equal(isRate, type !== 'gauge', `${title}: a rate of counters, and of nothing else: ${expr}`)
      t.equal(isQuantile, metric.endsWith('_bucket'), `${title}: ${expr}`)
      const known = ['instance', ...metric.endsWith('_bucket') ? ['le'] : [], ...labelsOf.get(base.replace('datasole_', ''))!]
      t.strictSame(labels.filter((label) => !known.includes(label)), [], `${title}: the labels of ${metric}`)
      t.ok(labels.includes('instance'), `${title}: it follows the variable`)
      if (isQuantile) t.ok(labels.includes('le'), title)
    }
    const grouped = uses.flatMap(({ labels }) => labels)
    for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) t.ok(grouped.includes(label!), `${title}: the legend's ${label}`)
  }
  t.strictSame([...families.keys()].filter((name) => !seen.has(name)), [], 'it shows every metric')
})

t.test('dashboard: Grafana can import it', async (t) => {
  t.match(dashboard, { id: null, uid: 'datasole', title: 'datasole', schemaVersion: 38 })
  t.match(dashboard.__inputs, [{ name: 'DS_PROMETHEUS', type: 'datasource', pluginId: 'prometheus' }])
  const { panels } = dashboard
  t.equal(new Set(panels.map(({ id }) => id)).size, panels.length, 'ids')
  const types = new Set(panels.map(({ type }) => type).filter((type) => type !== 'row'))
  t.strictSame([...types].sort(), dashboard.__requires.filter(({ type }) => type === 'panel').map(({ id }) => id).sort())
  for (const { title, type, datasource, gridPos: { x, w }, targets = [] } of panels) {
    t.ok(x + w <= 24, title)
    t.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title)
    if (type !== 'row') t.strictSame(datasource, { type: 'prometheus', uid: '${DS_PROMETHEUS}' }, title) // eslint-disable-line no-template-curly-in-string -- Grafana's own
  }
  const overlaps = (a: Panel['gridPos'], b: Panel['gridPos']): boolean => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h
  t.strictSame(panels.flatMap((a, i) => panels.slice(i + 1).filter((b) => overlaps(a.gridPos, b.gridPos)).map((b) => `${a.title} and ${b.title}`)), [])
  const variables = Array.from(JSON.stringify(queries).matchAll(/\$(\w+)/g), ([, name]) => name!).filter((name) => !name.startsWith('__'))
  t.strictSame([...new Set(variables)], dashboard.templating.list.map(({ name }) => name))
})
