import { h, setText } from './dom.js'

export interface Column<R> {
  title: string
  text: (row: R, id: string) => string
  /** The value to sort by. Without it, the column is not sortable. */
  sort?: (row: R) => number | string
  isNumber?: boolean
  /** The link of the cell. */
  href?: (row: R, id: string) => string
  className?: (row: R) => string
}

/** A table that updates its rows in place. The order of rows does not change while one of them has the focus. */
export class DataTable<R> {
  readonly element: HTMLElement
  readonly #columns: Array<Column<R>>
  readonly #caption = h('caption')
  readonly #body = h('tbody')
  readonly #empty = h('p', { class: 'empty', hidden: true })
  readonly #headers: HTMLElement[]
  readonly #rows = new Map<string, { tr: HTMLTableRowElement, cells: HTMLElement[], row: R }>()
  #sorted: { column: number, isDescending: boolean } | undefined

  /** @param empty text to show if the table has no rows */
  constructor (columns: Array<Column<R>>, empty: string, sortedBy?: number) {
    this.#columns = columns
    setText(this.#empty, empty)
    if (sortedBy !== undefined) this.#sorted = { column: sortedBy, isDescending: true }
    this.#headers = columns.map(({ title, sort, isNumber }, i) => h('th', { scope: 'col', class: isNumber === true ? 'number' : undefined },
      sort === undefined ? title : h('button', { type: 'button', click: () => { this.#sortBy(i) } }, title)))
    this.element = h('div', {}, h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': empty }, h('table', {}, this.#caption, h('thead', {}, h('tr', {}, ...this.#headers)), this.#body)), this.#empty)
    this.#showOrder()
  }

  /** @param caption says how many rows are shown, of how many */
  update (rows: Array<[id: string, row: R]>, caption: string): void {
    setText(this.#caption, caption)
    this.element.firstElementChild!.setAttribute('aria-label', caption)
    const left = new Set(this.#rows.keys())
    for (const [id, row] of rows) {
      left.delete(id)
      const known = this.#rows.get(id)
      if (known === undefined) this.#add(id, row)
      else this.#fill(known.cells, id, known.row = row)
    }
    for (const id of left) {
      this.#rows.get(id)!.tr.remove()
      this.#rows.delete(id)
    }
    this.#empty.hidden = rows.length > 0
    if (!this.#body.contains(document.activeElement)) this.#arrange()
  }

  #add (id: string, row: R): void {
    const cells = this.#columns.map(({ isNumber, href }, i) => {
      const className = isNumber === true ? 'number' : undefined
      const content = href === undefined ? undefined : h('a', { href: href(row, id) })
      return i === 0 ? h('th', { scope: 'row', class: className }, content) : h('td', { class: className }, content)
    })
    this.#fill(cells, id, row)
    const tr = h('tr', {}, ...cells)
    this.#rows.set(id, { tr, cells, row })
    this.#body.append(tr)
  }

  #fill (cells: HTMLElement[], id: string, row: R): void {
    this.#columns.forEach(({ text, className, isNumber }, i) => {
      const cell = cells[i]!
      const value = text(row, id)
      setText(cell.firstElementChild ?? cell, value)
      if (value.length > 30) cell.title = value
      if (className !== undefined) cell.className = `${className(row)}${isNumber === true ? ' number' : ''}`
    })
  }

  #sortBy (column: number): void {
    this.#sorted = { column, isDescending: this.#sorted?.column === column ? !this.#sorted.isDescending : this.#columns[column]!.isNumber === true }
    this.#showOrder()
    this.#arrange()
  }

  #showOrder (): void {
    this.#headers.forEach((th, i) => {
      if (this.#sorted?.column !== i) th.removeAttribute('aria-sort')
      else th.setAttribute('aria-sort', this.#sorted.isDescending ? 'descending' : 'ascending')
    })
  }

  #arrange (): void {
    const sorted = this.#sorted
    if (sorted === undefined) return
    const sort = this.#columns[sorted.column]!.sort!
    const order = Array.from(this.#rows.values(), ({ tr, row }) => ({ tr, value: sort(row) }))
      .sort((a, b) => (a.value < b.value ? -1 : a.value > b.value ? 1 : 0) * (sorted.isDescending ? -1 : 1))
    let next = this.#body.firstChild
    for (const { tr } of order) {
      if (tr === next) next = tr.nextSibling
      else this.#body.insertBefore(tr, next)
    }
  }
}
