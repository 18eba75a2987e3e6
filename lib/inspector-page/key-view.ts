import type { KeyDetail } from '../inspector/views.js'
import { Facts, confirm, h, setText } from './dom.js'
import { framesTail } from './frames-tail.js'
import { type ShowView, addressOf } from './page-view.js'
import { bytes, count, pretty, short } from './units.js'

/** Interval of requests in ms. */
const PERIOD = 1000

/** Shows one key: its value, its last commits, and the frames about it from now on. */
export const showKey: ShowView = (host) => {
  const { link, main, path: [scope = '', kind = '', key = ''], notice } = host
  const ref = { scope, kind, key }
  const facts = new Facts('facts')
  const value = h('pre', { tabindex: 0, role: 'region', 'aria-label': 'Value' })
  const valueNote = h('p', { class: 'soft' })
  const editor = h('textarea', { 'aria-label': 'Value as JSON', spellcheck: 'false', hidden: true })
  const patches = h('ul', { class: 'patches' })
  const buttons = h('div', { class: 'end' })
  const tail = kind.startsWith('session') ? undefined : framesTail(host, { key })
  let shown: KeyDetail | undefined
  /** The key at the version that the user edits. */
  let edited: KeyDetail | undefined
  let isEnded = false
  let timer: ReturnType<typeof setTimeout> | undefined

  const act = async (what: () => Promise<unknown>): Promise<void> => {
    try {
      await what()
      notice(undefined)
      edited = undefined
    } catch (error) {
      notice((error as Error).message)
    }
    showButtons()
    await look()
  }

  const save = async (): Promise<void> => {
    const { epoch, version } = edited!
    await act(() => link.call('edit', { ...ref, epoch, version, text: editor.value }))
  }

  const evict = async (): Promise<void> => {
    const { epoch, version } = shown!
    if (await confirm('Delete this value?', `${kind} "${key}" at version ${version}. Its subscribers lose the value. You cannot undo this.`, 'Delete') === undefined) return
    await act(() => link.call('evict', { ...ref, epoch, version }))
  }

  const edit = (): void => {
    edited = shown
    editor.value = pretty(shown!.text)
    showButtons()
    editor.focus()
  }

  const button = (text: string, click: () => void, className?: string): HTMLElement => h('button', { type: 'button', class: className, click }, text)

  const showButtons = (): void => {
    editor.hidden = edited === undefined
    value.hidden = edited !== undefined
    if (!link.mayAct || shown?.isThere !== true) return buttons.replaceChildren()
    const mayEdit = kind === 'state' && !shown.isCut
    if (edited !== undefined) return buttons.replaceChildren(button('Cancel', () => { edited = undefined; showButtons() }), button('Save', () => { void save() }))
    buttons.replaceChildren(...mayEdit ? [button('Edit', edit)] : [], button('Delete', () => { void evict() }, 'danger'))
  }

  const show = (detail: KeyDetail): void => {
    const isOther = shown?.version !== detail.version || shown.epoch !== detail.epoch
    const wasThere = shown?.isThere
    shown = detail
    facts.set('Kind', kind === 'state' && detail.isThere && !detail.isLive ? 'state, not live' : kind)
    facts.set('Scope', scope)
    facts.set('Version', count(detail.version))
    facts.set('Size', bytes(detail.bytes))
    facts.set('Epoch', detail.epoch || '–')
    facts.set('Read from', `node ${short(detail.node)}${detail.missing.length > 0 ? `; ${detail.missing.length} other nodes do not answer` : ''}`)
    if (wasThere !== detail.isThere) showButtons()
    if (!isOther) return
    setText(value, detail.isThere ? pretty(detail.text) : '')
    setText(valueNote, !detail.isThere ? 'There is no value.' : !detail.isCut ? '' : detail.text === '' ? 'The value is larger than 4 MB, so it is not shown.' : 'The value is cut after 256 KB.')
    patches.replaceChildren(...detail.commits.map(({ version, patches: text, isCut }) => h('li', {}, h('span', { class: 'tag' }, String(version)), ' ', h('code', {}, `${text}${isCut ? ' …' : ''}`))))
  }

  const look = async (): Promise<void> => { await link.call('key', ref).then(show, () => { /* the header shows the state of the connection */ }) }
  const ask = async (): Promise<void> => {
    await look()
    if (!isEnded) timer = setTimeout(() => { void ask() }, PERIOD)
  }
  void ask()

  main.append(
    h('p', {}, h('a', { href: addressOf('keys') }, '← Keys')),
    h('div', { class: 'head' }, h('h1', {}, key), buttons),
    h('div', { class: 'two' },
      h('section', { class: 'card' }, h('h2', {}, 'Value'), valueNote, value, editor),
      h('div', { class: 'card' }, h('h2', {}, 'State'), facts.element, h('h2', {}, 'Last commits'), h('p', { class: 'soft' }, 'JSON Patch (RFC 6902), newest first. The node keeps only recent commits.'), patches)),
    ...tail === undefined ? [] : [tail.element])
  return () => {
    isEnded = true
    clearTimeout(timer)
    tail?.end()
  }
}
