import type { NodeView, Overview } from '../inspector/views.js'
import { type Column, DataTable } from './data-table.js'
import { Facts, h, setText } from './dom.js'
import { LineChart } from './line-chart.js'
import type { ShowView } from './page-view.js'
import { age, bytes, count, ms, percent, short } from './units.js'

const NODES: Array<Column<NodeView>> = [
  { title: 'Node', text: ({ isSelf }, id) => `${short(id)}${isSelf ? ' (this page)' : ''}`, sort: ({ startedAt }) => startedAt },
  { title: 'State', text: ({ state }) => ({ here: 'answers', missing: 'does not answer', unregistered: 'has no inspector' })[state], className: ({ state }) => state === 'here' ? 'good' : 'bad' },
  { title: 'Process', text: ({ host, pid }) => `${host} · ${pid}` },
  { title: 'Up', text: ({ startedAt }) => age(startedAt), isNumber: true, sort: ({ startedAt }) => -startedAt },
  { title: 'Connections', text: (node) => shown(node.connections, count), isNumber: true, sort: ({ connections = 0 }) => connections },
  { title: 'Messages/s', text: ({ rates }) => shown(rates && rates.messagesIn + rates.messagesOut, count), isNumber: true, sort: ({ rates }) => (rates?.messagesIn ?? 0) + (rates?.messagesOut ?? 0) },
  { title: 'CPU', text: ({ cpu }) => shown(cpu, percent), isNumber: true, sort: ({ cpu = 0 }) => cpu },
  { title: 'Loop delay', text: ({ delay }) => shown(delay?.max, ms), isNumber: true, sort: ({ delay }) => delay?.max ?? 0 },
  { title: 'Memory', text: ({ rss }) => shown(rss, bytes), isNumber: true, sort: ({ rss = 0 }) => rss },
  { title: 'Backends', text: ({ backends = [] }) => backends.map(({ scope, ready, lagMs }) => `${scope} ${ready ? ms(lagMs ?? 0) : 'is down'}`).join(', ') || '–', className: ({ backends = [] }) => backends.every(({ ready }) => ready) ? '' : 'bad' }
]

interface Refusal { place: string, reason: string, count: number }

const REFUSALS: Array<Column<Refusal>> = [
  { title: 'Reason', text: ({ reason }) => reason },
  { title: 'Where', text: ({ place }) => place },
  { title: 'Times', text: (row) => count(row.count), isNumber: true, sort: (row) => row.count }
]

const THREADS: Array<Column<NodeView>> = [
  { title: 'Node', text: (_node, id) => short(id) },
  { title: 'Threads', text: ({ executor }) => shown(executor?.threads, count), isNumber: true },
  { title: 'Busy', text: ({ executor }) => shown(executor?.utilization, percent), isNumber: true },
  { title: 'Queued', text: ({ executor }) => shown(executor?.queued, count), isNumber: true },
  { title: 'Connections', text: ({ executor }) => shown(executor?.assigned, count), isNumber: true },
  { title: 'Lost', text: ({ executor }) => shown(executor?.restarts, count), isNumber: true }
]

function shown (value: number | undefined, format: (value: number) => string): string {
  return value === undefined ? '–' : format(value)
}

/** Shows the rates of all nodes, their worst delays, and their refusals. */
export const showOverview: ShowView = ({ link, main }) => {
  const tiles = new Facts('tiles')
  const charts = {
    messages: new LineChart('Messages per second', ['in', 'out'], count),
    calls: new LineChart('Calls and commits per second', ['calls', 'commits'], count),
    delay: new LineChart('Event loop delay', ['median', 'max'], ms),
    commit: new LineChart('Commit and fan-out time, p99', ['commit', 'fan-out'], ms)
  }
  const nodes = new DataTable(NODES, 'No node.', 0)
  const refusals = new DataTable(REFUSALS, 'Nothing was refused.', 2)
  const threads = new DataTable(THREADS, 'No worker threads.')
  const threadsCard = h('section', { class: 'card', hidden: true }, h('h2', {}, 'Worker threads'), threads.element)
  const viewers = h('p', { class: 'soft' })
  main.append(
    h('div', { class: 'head' }, h('h1', {}, 'Overview'), viewers), tiles.element,
    h('div', { class: 'charts' }, ...Object.values(charts).map(({ element }) => element)),
    h('section', { class: 'card' }, h('h2', {}, 'Nodes'), nodes.element),
    h('div', { class: 'grid' }, h('section', { class: 'card' }, h('h2', {}, 'Refusals since the start'), refusals.element), threadsCard))

  return link.follow<Overview>('overview', (overview) => {
    const all = Object.entries(overview.nodes)
    const here = all.map(([, node]) => node).filter(({ rates }) => rates !== undefined)
    const sum = (value: (node: NodeView) => number | undefined): number => here.reduce((total, node) => total + (value(node) ?? 0), 0)
    const worst = (value: (node: NodeView) => number | undefined): number => Math.max(0, ...here.map((node) => value(node) ?? 0))
    setText(viewers, overview.viewers === 1 ? 'one viewer' : `${overview.viewers} viewers`)
    tiles.set('Connections', count(sum(({ connections }) => connections)))
    tiles.set('Subscriptions', count(sum(({ subscriptions }) => subscriptions)))
    tiles.set('Buffered', bytes(sum(({ bufferedBytes }) => bufferedBytes)))
    tiles.set('In/s', bytes(sum(({ rates }) => rates!.bytesIn)))
    tiles.set('Out/s', bytes(sum(({ rates }) => rates!.bytesOut)))
    tiles.set('Keys', count(sum(({ keys }) => keys)))
    tiles.set('Sessions', count(sum(({ sessions }) => sessions)))
    tiles.set('Refused/s', count(sum(({ rates }) => rates!.refused)), sum(({ rates }) => rates!.refused) > 0 ? 'bad' : undefined)
    nodes.update(all, all.length === here.length ? `${all.length} of ${all.length} nodes answer` : `${here.length} of ${all.length} nodes answer; the figures above leave the others out`)
    refusals.update(refused(here), 'of all nodes')
    const withThreads = all.filter(([, { executor }]) => executor !== undefined)
    threadsCard.hidden = withThreads.length === 0
    threads.update(withThreads, 'by node')
    // skip the first sample: it has no earlier sample to compare with
    if (here.every(({ delay }) => delay!.count === 0)) return
    charts.messages.add(sum(({ rates }) => rates!.messagesIn), sum(({ rates }) => rates!.messagesOut))
    charts.calls.add(sum(({ rates }) => rates!.calls), sum(({ rates }) => rates!.commits))
    charts.delay.add(worst(({ delay }) => delay?.p50), worst(({ delay }) => delay?.max))
    charts.commit.add(worst(({ commit }) => commit?.p99), worst(({ fanout }) => fanout?.p99))
  })
}

function refused (nodes: NodeView[]): Array<[string, Refusal]> {
  const all = new Map<string, Refusal>()
  for (const { refusals = {} } of nodes) {
    for (const [place, reasons] of Object.entries(refusals)) {
      for (const [reason, times] of Object.entries(reasons)) {
        const id = `${place} ${reason}`
        all.set(id, { place, reason, count: (all.get(id)?.count ?? 0) + times })
      }
    }
  }
  return [...all]
}
