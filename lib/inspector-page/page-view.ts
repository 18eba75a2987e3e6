import type { ServerLink } from './server-link.js'

/** The context of a view of the page. */
export interface ViewHost {
  readonly link: ServerLink
  readonly main: HTMLElement
  /** Parts of the address after the view's name, decoded. */
  readonly path: readonly string[]
  /** The filter in the address. */
  readonly filter: string
  /** Puts a filter into the address, without a new entry in the history. */
  setFilter: (filter: string) => void
  /** Shows an error; undefined removes it. */
  notice: (text: string | undefined) => void
}

/** Shows a view in `main`. @returns a function that ends the view */
export type ShowView = (host: ViewHost) => () => void

/** Lone surrogates, which clients may use in names of keys, but which an address cannot contain. */
const HALF = /\p{Surrogate}/gu

/** The address of a view. */
export function addressOf (...parts: string[]): string {
  return `#/${parts.map((part) => encodeURIComponent(part.replace(HALF, '\ufffd'))).join('/')}`
}
