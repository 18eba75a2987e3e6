import * as Y from 'yjs'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import { fromBase64, toBase64 } from './base64.js'
import type { DatasoleClient } from './client.js'

/** ms after which an update is tried again for which there was no room. */
const RETRY = 1000

export interface YjsBinding {
  /** Resolves once the document has what the server had. */
  readonly synced: Promise<void>
  /** Follows the document no more; what was changed before is still sent. */
  destroy (): void
}

/**
 * Keeps a `Y.Doc` in step with those of other clients under `key`, through the server.
 * @throws DatasoleError `FOREIGN_YJS` for a document of another copy of Yjs than the one that this module imports:
 *   Yjs would take in its updates and show none of them
 */
export function bindYjs (client: DatasoleClient, key: string, doc: Y.Doc, { onError }: { onError?: (error: DatasoleError) => void } = {}): YjsBinding {
  checkDoc(doc)
  const handle = client.crdt(key, 'yjs')
  let waiting: Uint8Array[] = []
  let isEnded = false
  let retry: ReturnType<typeof setTimeout> | undefined
  const origin = {}
  let hasState = (): void => {}
  const synced = new Promise<void>((resolve) => { hasState = resolve })
  // one at a time: what is typed meanwhile, or offline, goes as one
  const send = (): void => {
    if (retry !== undefined || (handle.isPending && !isEnded)) return
    if (waiting.length > 0) {
      waiting = [Y.mergeUpdates(waiting)]
      try {
        handle.update(toBase64(waiting[0]!))
      } catch (error) {
        // operations on other keys fill the outbox: it must wait here, since later updates build on it
        if ((error as DatasoleError).code !== 'BUSY') throw error
        retry = setTimeout(() => {
          retry = undefined
          send()
        }, RETRY)
        return
      }
      waiting = []
    }
    if (isEnded) handle.close()
  }
  const changed = (update: Uint8Array, from: unknown): void => {
    if (from === origin) return
    waiting.push(update)
    queueMicrotask(() => { send() })
  }
  const end = handle.subscribe((updates) => {
    if (handle.isSynced) queueMicrotask(hasState)
    applyAll(doc, updates, origin)
  }, { onError, onSettled: () => { send() } })
  if (doc.store.clients.size > 0) changed(Y.encodeStateAsUpdate(doc), undefined)
  doc.on('update', changed)
  return {
    synced,
    destroy () {
      doc.off('update', changed)
      end()
      isEnded = true
      send()
    }
  }
}

function checkDoc (doc: unknown): void {
  if (doc instanceof Y.Doc) return
  // its own methods tell a document of another copy from anything else
  const { transact, getMap } = (doc ?? {}) as Partial<Record<'transact' | 'getMap', unknown>>
  if (typeof transact !== 'function' || typeof getMap !== 'function') throw invalidArgument('bindYjs: the document must be a Y.Doc')
  throw new DatasoleError('FOREIGN_YJS', 'bindYjs: the document is of another copy of Yjs than the one that datasole/client/yjs imports. ' +
    'Have one copy: see "npm ls yjs" and "npm dedupe", let the bundler resolve one (resolve.dedupe or an alias), and use import throughout, as require("yjs") loads another copy')
}

/** They are told once, so one that the page's observers fail at must not stop the others. */
function applyAll (doc: Y.Doc, updates: readonly string[], origin: object): void {
  const thrown: unknown[] = []
  for (const update of updates) {
    try {
      Y.applyUpdate(doc, fromBase64(update), origin)
    } catch (error) {
      thrown.push(error)
    }
  }
  if (thrown.length > 0) throw thrown[0]
}
