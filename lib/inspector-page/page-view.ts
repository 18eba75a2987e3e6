import type { ServerLink } from './server-link.js'

/** The context of a view of the page. */
export interface ViewHost {
  readonly link: ServerLink
  readonly main: HTMLElement
  /** Parts of the address after the view's name, decoded. */
  readonly path: readonly string[]
  /** The filter in the address. */
  readonly filter: string
  /** Puts a filter into the address, without another entry in the history. */
  setFilter: (filter: string) => void
  /** Shows an error; undefined removes it. */
  notice: (text: string | undefined) => void
}

/** Shows a view in `main`. @returns ends the view */
export type ShowView = (host: ViewHost) => () => void

/** Half of a surrogate pair: clients may name keys so, and no address can have it. */
const HALF = /\p{Surrogate}/gu

/** The address of a view. */
export function addressOf (...parts: string[]): string {
  return `#/${parts.map((part) => encodeURIComponent(part.replace(HALF, '\ufffd'))).join('/')}`
}
