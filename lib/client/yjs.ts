import * as Y from 'yjs'
import type { DatasoleClient, DatasoleError } from './client.js'

export interface YjsBinding {
  /** Resolves once the document has what the server had. */
  readonly synced: Promise<void>
  /** Follows the document no more; what was changed before is still sent. */
  destroy (): void
}

/** Keeps a `Y.Doc` in step with those of other clients under `key`, through the server. */
export function bindYjs (client: DatasoleClient, key: string, doc: Y.Doc, { onError }: { onError?: (error: DatasoleError) => void } = {}): YjsBinding {
  const handle = client.crdt(key, 'yjs')
  let waiting: Uint8Array[] = []
  const origin = {}
  let hasState = (): void => {}
  const synced = new Promise<void>((resolve) => { hasState = resolve })
  // one at a time: what is typed meanwhile, or offline, goes as one
  const send = (isLast = false): void => {
    if (waiting.length === 0 || (handle.isPending && !isLast)) return
    const update = Y.mergeUpdates(waiting)
    waiting = []
    handle.update(toBase64(update))
  }
  const changed = (update: Uint8Array, from: unknown): void => {
    if (from === origin) return
    waiting.push(update)
    queueMicrotask(() => { send() })
  }
  const end = handle.subscribe((updates) => {
    for (const update of updates) Y.applyUpdate(doc, fromBase64(update), origin)
    if (handle.isSynced) hasState()
  }, { onError, onSettled: () => { send() } })
  if (doc.store.clients.size > 0) changed(Y.encodeStateAsUpdate(doc), undefined)
  doc.on('update', changed)
  return {
    synced,
    destroy () {
      doc.off('update', changed)
      end()
      send(true)
      handle.close()
    }
  }
}

function toBase64 (bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000))
  return btoa(text)
}

function fromBase64 (text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
}
