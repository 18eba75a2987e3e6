import type { KeyRow, KeysView } from '../inspector/views.js'
import { type Column, DataTable } from './data-table.js'
import { h } from './dom.js'
import { filterBox } from './filter-box.js'
import { type ShowView, addressOf } from './page-view.js'
import { bytes, count, short } from './units.js'

const COLUMNS: Array<Column<KeyRow>> = [
  { title: 'Key', text: ({ key }) => key, href: ({ scope, kind, key }) => addressOf('keys', scope, kind, key), sort: ({ key }) => key },
  { title: 'Kind', text: ({ kind, isLive }) => kind === 'state' && !isLive ? 'state, not live' : kind, sort: ({ kind }) => kind },
  { title: 'Scope', text: ({ scope }) => scope, sort: ({ scope }) => scope },
  { title: 'Version', text: ({ version }) => count(version), isNumber: true, sort: ({ version }) => version },
  { title: 'Size', text: (row) => bytes(row.bytes), isNumber: true, sort: (row) => row.bytes },
  { title: 'Commits/s', text: ({ rate }) => count(rate), isNumber: true, sort: ({ rate }) => rate },
  { title: 'Subscribers', text: ({ subscribers }) => count(subscribers), isNumber: true, sort: ({ subscribers }) => subscribers },
  { title: 'Nodes', text: ({ nodes }) => nodes.length === 1 ? short(nodes[0]!) : `${nodes.length} nodes` }
]

/** Shows the keys that nodes have in memory, the most active ones first. */
export const showKeys: ShowView = (host) => {
  const table = new DataTable(COLUMNS, 'No node has a key open.', 5)
  const { element, end } = filterBox<KeysView>(host, 'keys', 'Filter by key, kind or scope', (view) => {
    const rows = Object.entries(view.rows)
    const of = view.count === view.total ? `${count(view.total)} keys` : `${count(view.count)} matching keys, of ${count(view.total)}`
    table.update(rows, rows.length < view.count ? `The ${count(rows.length)} most active of ${of}` : of)
  })
  host.main.append(
    h('div', { class: 'head' }, h('h1', {}, 'Keys'), h('div', { class: 'end' }, element)),
    h('section', { class: 'card', 'aria-label': 'Keys' }, table.element))
  return end
}
