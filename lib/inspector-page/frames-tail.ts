import type { FrameRow, TailTarget } from '../inspector/views.js'
import { h, setText } from './dom.js'
import type { ViewHost } from './page-view.js'
import { bytes, clock, count, short } from './units.js'

/** Interval of requests in ms. */
const PERIOD = 700
/** Maximum number of frames that the page keeps. */
const MAX_SHOWN = 500

const TITLES = ['Time', '', 'Frame', 'Id', 'Bytes', 'Connection', 'Payload']

/** Shows the frames of a connection or a key from now on, the newest first. `end` stops it. */
export function framesTail ({ link, notice }: ViewHost, target: TailTarget): { element: HTMLElement, end: () => void } {
  const body = h('tbody')
  const state = h('p', { class: 'soft' }, 'waiting for the first frame')
  const pause = h('button', { type: 'button', 'aria-pressed': 'false', click: () => { toggle() } }, 'Pause')
  let cursors: Record<string, number> = {}
  let isPaused = false
  let isEnded = false
  let seen = 0
  let lost = 0
  let timer: ReturnType<typeof setTimeout> | undefined

  const toggle = (): void => {
    isPaused = !isPaused
    pause.setAttribute('aria-pressed', String(isPaused))
    if (!isPaused) void ask()
  }

  const ask = async (): Promise<void> => {
    clearTimeout(timer)
    if (isEnded || isPaused) return
    try {
      const answer = await link.call('frames', { target, cursors })
      cursors = answer.cursors
      lost += answer.lost
      seen += answer.frames.length
      for (const frame of answer.frames) body.prepend(rowOf(frame))
      while (body.rows.length > MAX_SHOWN) body.deleteRow(-1)
      setText(state, `${count(seen)} frames${lost > 0 ? `, ${count(lost)} more not shown: too many at once` : ''}${answer.missing.length > 0 ? `; ${answer.missing.length} nodes do not answer` : ''}`)
    } catch (error) {
      // ignore a lost connection: the header shows its state
      if (link.node !== '' && !isEnded) notice(error instanceof Error && 'data' in error ? error.message : undefined)
    }
    if (!isEnded && !isPaused) timer = setTimeout(() => { void ask() }, PERIOD)
  }
  void ask()

  const table = h('table', {}, h('caption', {}, 'Newest first. Payloads are cut after 2,048 characters.'), h('thead', {}, h('tr', {}, ...TITLES.map((title) => h('th', { scope: 'col', class: title === 'Id' || title === 'Bytes' ? 'number' : undefined }, title || h('abbr', { title: 'direction' }, '⇅'))))), body)
  return {
    element: h('section', { class: 'card' },
      h('div', { class: 'head' }, h('h2', {}, 'Frames'), state, h('div', { class: 'end' }, pause)),
      h('div', { class: 'frames', tabindex: 0, role: 'region', 'aria-label': 'Frames' }, table)),
    end: () => {
      isEnded = true
      clearTimeout(timer)
    }
  }
}

function rowOf ({ at, direction, opcode, id, bytes: size, connection, user, receivers, text, isCut }: FrameRow): HTMLElement {
  const who = receivers > 1 ? `${count(receivers)} connections` : `${short(connection)}${user === '' ? '' : ` · ${user}`}`
  return h('tr', {},
    h('th', { scope: 'row' }, clock(at)),
    h('td', {}, direction === 'in' ? 'in' : 'out'),
    h('td', {}, opcode),
    h('td', { class: 'number' }, id === 0 ? '' : String(id)),
    h('td', { class: 'number' }, bytes(size)),
    h('td', {}, who),
    h('td', { class: 'wrap' }, h('code', {}, `${text}${isCut ? ' …' : ''}`)))
}
