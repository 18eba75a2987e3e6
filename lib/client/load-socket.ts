import type { SocketLink } from './socket-link.js'

/** Loads the link for this thread. It is a dynamic import, because pages with a Web Worker do not need the code. */
export async function loadSocket (): Promise<typeof SocketLink> {
  return (await import('./socket-link.js')).SocketLink
}
