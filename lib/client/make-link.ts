import { DatasoleError } from '../protocol/errors.js'
import type { ClientSettings } from './client-options.js'
import type { Link, LinkEvents } from './link.js'
import { loadSocket } from './load-socket.js'
import { type WorkerLike, loadWorker } from './load-worker.js'
import { ThreadLink } from './thread-link.js'
import { WorkerLink } from './worker-link.js'

/** Makes a link on this thread or in a Web Worker. If the worker fails to load, it is not tried again unless `useWorker` is true. */
export function makeLink (settings: ClientSettings, events: LinkEvents): Link {
  const { link, webSocket, inflate, worker, workerUrl, useWorker, onError } = settings
  const load = async (): Promise<Link> => new (await loadSocket())(link, webSocket, events, inflate)
  const onThisThread = (): Link => new ThreadLink(load, link, events)
  if (useWorker === false) return onThisThread()
  const start = worker === undefined
    ? () => loadWorker(workerUrl)
    : () => ({ worker: worker() as WorkerLike<unknown, unknown>, name: 'the worker of the option worker', settled () {} })
  return new WorkerLink(start, link, events, useWorker === true
    ? undefined
    : (why) => {
        settings.useWorker = false
        onError(new DatasoleError('WORKER_UNAVAILABLE', `the Web Worker cannot be used: ${why}; the page's thread runs the connection. Set workerUrl or useWorker: false`))
        return onThisThread()
      })
}
