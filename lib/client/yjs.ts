import * as Y from 'yjs'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import { fromBase64, toBase64 } from './base64.js'
import { crdt } from './client-crdt-handle.js'
import type { LiveClient } from './live-client.js'

/** Delay in ms before an update is tried again after `BUSY`. */
const RETRY = 1000

/** A `Y.Doc` that is kept in sync: see `bindYjs`. */
export interface YjsBinding {
  /** Resolves once the document has the server's updates. */
  readonly synced: Promise<void>
  /** Ends the binding. Changes made before are still sent. */
  destroy (): void
}

/**
 * Keeps a `Y.Doc` in sync, through the server, with the documents of other clients under the same key.
 * @param client a `LiveClient`, or a `DatasoleClient`
 * @param key the key of the CRDT
 * @param doc must come from the copy of Yjs that this module imports
 * @param options.onError gets errors of refused updates and of a refused subscription; default the client's `onError`
 * @throws TypeError `INVALID_ARGUMENT` if `doc` is not a Y.Doc
 * @throws DatasoleError `FOREIGN_YJS` if the document comes from another copy of Yjs, because Yjs would apply its
 *   updates without showing them
 */
export function bindYjs (client: LiveClient, key: string, doc: Y.Doc, { onError }: { onError?: (error: DatasoleError) => void } = {}): YjsBinding {
  checkDoc(doc)
  const handle = crdt(client, key, 'yjs')
  let waiting: Uint8Array[] = []
  let isEnded = false
  let retry: ReturnType<typeof setTimeout> | undefined
  const origin = {}
  let hasState = (): void => {}
  const synced = new Promise<void>((resolve) => { hasState = resolve })
  // one update at a time: edits made meanwhile or offline are merged into the next one
  const send = (): void => {
    if (retry !== undefined || (handle.isPending && !isEnded)) return
    if (waiting.length > 0) {
      waiting = [Y.mergeUpdates(waiting)]
      try {
        handle.update(toBase64(waiting[0]!))
      } catch (error) {
        // the queue is full: keep the update, because later updates build on it
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
  // a document of another copy of Yjs is recognized by its methods
  const { transact, getMap } = (doc ?? {}) as Partial<Record<'transact' | 'getMap', unknown>>
  if (typeof transact !== 'function' || typeof getMap !== 'function') throw invalidArgument('bindYjs: the document must be a Y.Doc')
  throw new DatasoleError('FOREIGN_YJS', 'bindYjs: the document comes from another copy of Yjs than datasole/client/yjs imports. ' +
    'Install one copy (npm ls yjs, npm dedupe), let the bundler resolve one (resolve.dedupe or an alias), and always use import: require("yjs") loads another copy')
}

/** Applies every update even if an observer throws, because each update arrives only once. */
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
