import { type Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { fromBase64, toBase64 } from './base64.js'
import type { DatasoleClient } from './client.js'

/** Characters of an update, in base64: what is larger is not sent, nor taken. */
const MAX_SIZE = 16 * 1024

/** States that are kept. Those of clients that are silent for 30 s go by themselves. */
const MAX_STATES = 1000

/** ms between two updates that are sent: what changes meanwhile goes as one. */
const INTERVAL = 100

interface Message { update: string, /** The others shall say who they are. */ isNew?: boolean }

/**
 * Shares an `Awareness` of y-protocols (cursors, names) with the other clients of a document, by the event
 * `<key>:awareness`, which server code has to relay. While there is no connection, the others' states are gone.
 * @param options.onError hears `LIMIT_EXCEEDED` of an own state that is not sent, as it has more than 12 KiB
 * It may be of another copy of y-protocols.
 * @returns ends it: the own state is removed, here and elsewhere
 */
export function bindAwareness (client: DatasoleClient, key: string, awareness: Awareness, { onError }: { onError?: (error: DatasoleError) => void } = {}): Unsubscribe {
  if (!((awareness as Awareness | undefined)?.states instanceof Map)) throw invalidArgument('bindAwareness: the awareness must be an Awareness of y-protocols')
  const event = `${key}:awareness`
  const own = awareness.clientID
  const origin = {}
  let isNew = false
  let timer: ReturnType<typeof setTimeout> | undefined

  const send = (): void => {
    timer = undefined
    if (client.getConnectionState() !== 'connected') return
    const update = toBase64(encodeAwarenessUpdate(awareness, [own]))
    if (update.length > MAX_SIZE) return onError?.(new DatasoleError('LIMIT_EXCEEDED', `an awareness state may have ${MAX_SIZE} characters of base64, not ${update.length}`))
    const message: Message = isNew ? { update, isNew } : { update }
    isNew = false
    client.emit(event, message)
  }
  // another time, or those who have forgotten it would not take it
  const renew = (): void => {
    awareness.setLocalState(awareness.getLocalState())
    timer ??= setTimeout(send, INTERVAL)
  }
  const changed = ({ added, updated, removed }: Record<'added' | 'updated' | 'removed', number[]>): void => {
    if ([added, updated, removed].some((clients) => clients.includes(own))) timer ??= setTimeout(send, INTERVAL)
  }
  const heard = (message: { data: unknown }): void => {
    const { update, isNew } = (message.data ?? {}) as Partial<Message>
    if (typeof update !== 'string' || update.length > MAX_SIZE || awareness.states.size >= MAX_STATES) return
    applyAwarenessUpdate(awareness, fromBase64(update), origin)
    if (isNew === true) renew()
  }
  const forgetOthers = (): void => {
    removeAwarenessStates(awareness, Array.from(awareness.states.keys()).filter((id) => id !== own), origin)
  }
  const joined = (): void => {
    isNew = true
    renew()
  }

  awareness.on('update', changed)
  const stopEvents = client.on(event, heard)
  const stop = client.onConnectionState((state) => {
    if (state === 'connected') joined()
    else forgetOthers()
  })
  if (client.getConnectionState() === 'connected') joined()
  return unsubscriber(() => {
    stop()
    stopEvents()
    awareness.off('update', changed)
    clearTimeout(timer)
    forgetOthers()
    removeAwarenessStates(awareness, [own], origin)
    send()
  })
}
