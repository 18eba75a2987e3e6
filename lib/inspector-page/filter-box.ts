import { h } from './dom.js'
import type { ViewHost } from './page-view.js'

/** Delay in ms between the last keystroke and the request. */
const PAUSE = 300

/** Creates a search box. When its text changes, it follows the view with that filter. `end` stops it. */
export function filterBox<T> ({ link, filter, setFilter }: ViewHost, view: string, label: string, onValue: (value: T) => void): { element: HTMLElement, end: () => void } {
  let end = link.follow<T>(`${view}:${filter}`, onValue)
  let timer: ReturnType<typeof setTimeout> | undefined
  const input = h('input', {
    type: 'search',
    value: filter,
    maxlength: 100,
    autocomplete: 'off',
    spellcheck: 'false',
    input: () => {
      clearTimeout(timer)
      timer = setTimeout(() => {
        end()
        setFilter(input.value)
        end = link.follow<T>(`${view}:${input.value}`, onValue)
      }, PAUSE)
    }
  })
  return {
    element: h('label', {}, label, input),
    end: () => {
      clearTimeout(timer)
      end()
    }
  }
}
