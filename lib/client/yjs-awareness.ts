import { type Awareness, applyAwarenessUpdate, encodeAwarenessUpdate, removeAwarenessStates } from 'y-protocols/awareness'
import { DatasoleError, invalidArgument } from '../protocol/errors.js'
import { type Unsubscribe, unsubscriber } from '../protocol/unsubscribe.js'
import { fromBase64, toBase64 } from './base64.js'
import type { LiveClient } from './live-client.js'

/** Maximum length of an update, in characters of base64. Larger updates are neither sent nor applied. */
const MAX_SIZE = 16 * 1024

/** Maximum number of states to keep. y-protocols drops the states of clients that are silent for 30 s. */
const MAX_STATES = 1000

/** Interval between two updates in ms. Changes in between are sent as one. */
const INTERVAL = 100

interface Message { update: string, /** asks the other clients to send their states */ isNew?: boolean }

/**
 * Shares an `Awareness` of y-protocols (cursors, names) with the other clients of a document. Server code must
 * relay the event `<key>:awareness`. While disconnected, the states of others are removed.
 * @param client a `LiveClient`, or a `DatasoleClient`
 * @param key of the document
 * @param awareness may come from another copy of y-protocols
 * @param options.onError gets `LIMIT_EXCEEDED` if the own state is over 12 KiB, and so not sent
 * @returns ends the binding, and removes the own state here and on the other clients
 * @throws TypeError `INVALID_ARGUMENT` if `awareness` is not an Awareness
 */
export function bindAwareness (client: LiveClient, key: string, awareness: Awareness, { onError }: { onError?: (error: DatasoleError) => void } = {}): Unsubscribe {
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
  // setLocalState increments the clock; clients that have dropped the state would ignore the old clock
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
