import type { SocketLink } from './socket-link.js'

/** Loads the link that runs on this thread. Pages with a Web Worker do not need it, so bundlers make it a file of its own. */
export async function loadSocket (): Promise<typeof SocketLink> {
  return (await import('./socket-link.js')).SocketLink
}
