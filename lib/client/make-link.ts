import { DatasoleError } from '../protocol/errors.js'
import type { Link, LinkEvents } from './link.js'
import type { ClientSettings } from './client-options.js'
import { SocketLink } from './socket-link.js'
import { WorkerLink } from './worker-link.js'

/** Makes a link on this thread or in a Web Worker. Unless `useWorker` is true, a worker that fails to load is not tried again. */
export function makeLink (settings: ClientSettings, events: LinkEvents): Link {
  const { link, webSocket, workerUrl, useWorker, onError } = settings
  const onThisThread = (): Link => new SocketLink(link, webSocket, events)
  if (useWorker === false) return onThisThread()
  return new WorkerLink(workerUrl, link, events, useWorker === true
    ? undefined
    : (why) => {
        settings.useWorker = false
        onError(new DatasoleError('WORKER_UNAVAILABLE', `the Web Worker cannot be used (${why}), so the connection runs on the page's thread; useWorker: false says that this is meant`))
        return onThisThread()
      })
}
