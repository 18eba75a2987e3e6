import type { PageEvent } from './link.js'

/** The part of window and document that this file uses. */
interface Target {
  addEventListener?: (name: string, listener: Listener) => void
  removeEventListener?: (name: string, listener: Listener) => void
}
type Listener = (event: { persisted?: boolean }) => void

/**
 * Follows the life of the page: its network, its visibility, frozen tabs (https://wicg.github.io/page-lifecycle)
 * and the back/forward cache, which refuses pages with an open connection. Does nothing outside of pages.
 * @returns a function that removes the listeners
 */
export function followPage (tell: (event: PageEvent) => void): () => void {
  const page = globalThis as Target & { document?: Target & { visibilityState?: string } }
  const { document } = page
  const listeners: Array<[Target | undefined, string, Listener]> = [
    [page, 'online', () => { tell('wake') }],
    [page, 'offline', () => { tell('check') }],
    [page, 'pageshow', ({ persisted }) => { if (persisted === true) tell('wake') }],
    [page, 'pagehide', ({ persisted }) => { if (persisted === true) tell('suspend') }],
    [document, 'resume', () => { tell('wake') }],
    [document, 'visibilitychange', () => { if (document!.visibilityState === 'visible') tell('wake') }]
  ]
  for (const [target, name, listener] of listeners) target?.addEventListener?.(name, listener)
  return () => { for (const [target, name, listener] of listeners) target?.removeEventListener?.(name, listener) }
}
