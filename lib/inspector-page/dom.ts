/** A node, text, or undefined for nothing. */
export type Child = Node | string | undefined

type Attributes = Record<string, string | number | boolean | undefined | ((event: Event) => void)>

/** Creates an element. Strings are inserted as text, so that data from the server is never parsed as markup. */
export function h<K extends keyof HTMLElementTagNameMap> (tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  setAttributes(element, attributes)
  append(element, children)
  return element
}

export function svg<K extends keyof SVGElementTagNameMap> (tag: K, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag)
  setAttributes(element, attributes)
  append(element, children)
  return element
}

function setAttributes (element: Element, attributes: Attributes): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
}

function append (element: Element, children: Child[]): void {
  for (const child of children) if (child !== undefined) element.append(child)
}

/** Sets the text only if it has changed, so that selections and screen readers are not disturbed. */
export function setText (node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text
}

/** A list of facts whose values change. */
export class Facts {
  readonly element: HTMLDListElement
  readonly #values = new Map<string, HTMLElement>()

  /** @param className `tiles` or `facts` */
  constructor (className: string) {
    this.element = h('dl', { class: className })
  }

  set (name: string, value: string, className?: string): void {
    let dd = this.#values.get(name)
    if (dd === undefined) {
      this.#values.set(name, dd = h('dd'))
      const parts = [h('dt', {}, name), dd]
      // each tile wraps its term and value
      this.element.append(...this.element.className === 'tiles' ? [h('div', {}, ...parts)] : parts)
    }
    setText(dd, value)
    dd.className = className ?? ''
  }
}

/** Asks for a confirmation. Resolves to the inputs' values by name, or to undefined if the user cancels. */
export async function confirm (title: string, text: string, action: string, inputs: Record<string, string> = {}): Promise<Record<string, string> | undefined> {
  const fields = Object.entries(inputs).map(([name, value]) => h('input', { name, value, autocomplete: 'off' }))
  const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' })
  const done = new Promise<Record<string, string> | undefined>((resolve) => {
    const end = (isConfirmed: boolean): void => {
      resolve(isConfirmed ? Object.fromEntries(fields.map(({ name, value }) => [name, value])) : undefined)
      dialog.close()
    }
    dialog.addEventListener('close', () => { resolve(undefined); dialog.remove() })
    dialog.append(h('div', {},
      h('h2', { id: 'dialog-title' }, title),
      h('p', {}, text),
      ...fields.map((field) => h('label', {}, field.name, field)),
      h('div', { class: 'end' }, h('button', { type: 'button', click: () => { end(false) } }, 'Cancel'), h('button', { type: 'button', class: 'danger', click: () => { end(true) } }, action))))
  })
  document.body.append(dialog)
  dialog.showModal()
  return await done
}
