import type { MethodRow, MethodsView } from '../inspector/views.js'
import { type Column, DataTable } from './data-table.js'
import { h, setText } from './dom.js'
import type { ShowView } from './page-view.js'
import { age, count, ms } from './units.js'

const COLUMNS: Array<Column<MethodRow>> = [
  { title: 'Name', text: ({ name }) => name, sort: ({ name }) => name },
  { title: 'Kind', text: ({ kind }) => kind, sort: ({ kind }) => kind },
  { title: 'Scope', text: ({ scope }) => scope || '–', sort: ({ scope }) => scope },
  { title: 'Per second', text: ({ rate }) => count(rate), isNumber: true, sort: ({ rate }) => rate },
  { title: 'Calls', text: ({ calls }) => count(calls), isNumber: true, sort: ({ calls }) => calls },
  { title: 'Errors', text: ({ errors }) => count(errors), isNumber: true, sort: ({ errors }) => errors, className: ({ errors }) => errors > 0 ? 'bad' : '' },
  { title: 'Mean', text: (row) => time(row, row.mean), isNumber: true, sort: ({ mean }) => mean },
  { title: 'p50', text: (row) => time(row, row.p50), isNumber: true, sort: ({ p50 }) => p50 },
  { title: 'p99', text: (row) => time(row, row.p99), isNumber: true, sort: ({ p99 }) => p99 },
  { title: 'Max', text: (row) => time(row, row.max), isNumber: true, sort: ({ max }) => max }
]

function time ({ calls }: MethodRow, value: number): string {
  return calls === 0 ? '–' : ms(value)
}

/** Shows methods and events, with the durations of their handlers. */
export const showMethods: ShowView = ({ link, main }) => {
  const table = new DataTable(COLUMNS, 'No method is registered.', 4)
  const since = h('p', { class: 'soft' })
  main.append(
    h('div', { class: 'head' }, h('h1', {}, 'Methods'), since),
    h('section', { class: 'card', 'aria-label': 'Methods' }, table.element))
  return link.follow<MethodsView>('methods', (view) => {
    const rows = Object.entries(view.rows)
    setText(since, `measured for ${age(view.since)}, since the inspector was opened`)
    table.update(rows, rows.length < view.count ? `The ${count(rows.length)} most called of ${count(view.count)}` : 'All nodes together. p50 and p99 are at most 9 % too high')
  })
}
