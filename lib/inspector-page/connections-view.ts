import type { ClosedRow, ConnectionRow, ConnectionsView } from '../inspector/views.js'
import { type Column, DataTable } from './data-table.js'
import { h } from './dom.js'
import { filterBox } from './filter-box.js'
import { type ShowView, addressOf } from './page-view.js'
import { age, bytes, clock, count, short } from './units.js'

const COLUMNS: Array<Column<ConnectionRow>> = [
  { title: 'Connection', text: (_row, id) => short(id), href: (_row, id) => addressOf('connections', id) },
  { title: 'User', text: ({ user }) => user || '–', sort: ({ user }) => user },
  { title: 'Address', text: ({ address }) => address, sort: ({ address }) => address },
  { title: 'Age', text: ({ connectedAt }) => age(connectedAt), isNumber: true, sort: ({ connectedAt }) => -connectedAt },
  { title: 'Subscriptions', text: ({ subscriptions }) => count(subscriptions), isNumber: true, sort: ({ subscriptions }) => subscriptions },
  { title: 'Calls', text: ({ calls }) => count(calls), isNumber: true, sort: ({ calls }) => calls },
  { title: 'Buffered', text: ({ bufferedBytes }) => bytes(bufferedBytes), isNumber: true, sort: ({ bufferedBytes }) => bufferedBytes, className: ({ bufferedBytes }) => bufferedBytes > 256 * 1024 ? 'bad' : '' },
  { title: 'In/s', text: ({ bytesIn }) => bytes(bytesIn), isNumber: true, sort: ({ bytesIn }) => bytesIn },
  { title: 'Out/s', text: ({ bytesOut }) => bytes(bytesOut), isNumber: true, sort: ({ bytesOut }) => bytesOut },
  { title: 'Tags', text: ({ tags }) => tags.join(', ') || '–' },
  { title: 'Node', text: ({ node }) => short(node), sort: ({ node }) => node }
]

const CLOSED: Array<Column<ClosedRow>> = [
  { title: 'Connection', text: ({ id }) => short(id) },
  { title: 'User', text: ({ user }) => user || '–' },
  { title: 'Address', text: ({ address }) => address },
  { title: 'At', text: ({ at }) => clock(at), sort: ({ at }) => at },
  { title: 'Code', text: ({ code }) => String(code), isNumber: true, sort: ({ code }) => code },
  { title: 'Reason', text: ({ reason }) => reason, sort: ({ reason }) => reason },
  { title: 'Node', text: ({ node }) => short(node) }
]

/** Shows the most active connections of all nodes, and the connections that ended while there were viewers. */
export const showConnections: ShowView = (host) => {
  const table = new DataTable(COLUMNS, 'No connection.', 8)
  const closed = new DataTable(CLOSED, 'No connection has ended since the inspector was opened.', 3)
  const { element, end } = filterBox<ConnectionsView>(host, 'connections', 'Filter by user, address, tag or id', (view) => {
    const rows = Object.entries(view.rows)
    const of = view.count === view.total ? `${count(view.total)} connections` : `${count(view.count)} matching connections, of ${count(view.total)}`
    table.update(rows, rows.length < view.count ? `The ${count(rows.length)} most active of ${of}` : of)
    closed.update(view.closed.map((row) => [`${row.id} ${row.at}`, row]), 'The last 50, with the close code of the WebSocket')
  })
  host.main.append(
    h('div', { class: 'head' }, h('h1', {}, 'Connections'), h('div', { class: 'end' }, element)),
    h('section', { class: 'card', 'aria-label': 'Open connections' }, table.element),
    h('section', { class: 'card' }, h('h2', {}, 'Ended'), closed.element))
  return end
}
