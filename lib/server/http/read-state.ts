import type { CrdtSnapshot } from '../../crdt/crdt-frames.js'
import type { Head, StatePatch, StateSnapshot } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Subscriptions } from '../keys/subscriptions.js'
import { type EntityTags, entityTagOf } from './entity-tags.js'
import { type Exchange, STATE } from './exchange.js'
import type { ServerFrame } from './frame-stream.js'
import { HttpRefusal } from './http-refusal.js'

/** Opcodes of frames with the whole value. */
const WHOLE: readonly number[] = [Opcode.STATE_SNAPSHOT, Opcode.CRDT_STATE]

export interface Reading {
  key: string
  /** The values that the client has: If-None-Match. */
  known: EntityTags | undefined
  /** ms to wait for a newer value. */
  waitMs: number
  /** ms that hooks and the backend may take for each answer. */
  timeoutMs: number
}

/** A value as JSON text. `json` is undefined if the client has the value already. */
export interface Read { tag: string, json: string | undefined }

/**
 * Reads a key by a subscription.
 * @throws HttpRefusal
 */
export async function readState (exchange: Exchange, subscriptions: Subscriptions, { key, known, waitMs, timeoutMs }: Reading): Promise<Read> {
  const { connection } = exchange.http
  const held = known?.only
  let frame = await exchange.ask(Opcode.SUBSCRIBE, JSON.stringify({ key, ...held }), STATE, timeoutMs)
  const deadline = performance.now() + waitMs
  for (;;) {
    if (frame === undefined) throw unreadable()
    const head = headOf(frame)
    if (head !== undefined && known?.has(entityTagOf(head)) === true) {
      const left = deadline - performance.now()
      // a deletion of the key ends the wait, too
      const next: ServerFrame | undefined = left > 0 ? await exchange.next(STATE, left) : undefined
      if (next === undefined) return { tag: entityTagOf(head), json: undefined }
      frame = next
    } else if (WHOLE.includes(frame.opcode)) {
      return valueIn(frame)
    } else {
      const whole = exchange.next(WHOLE, timeoutMs)
      subscriptions.resync(connection, key)
      frame = await whole
    }
  }
}

/** The client's position after a frame; undefined if the key has no value. */
function headOf ({ opcode, payload }: ServerFrame): Head | undefined {
  const { epoch, version } = JSON.parse(payload.toString()) as StatePatch
  return version === 0 && WHOLE.includes(opcode) ? undefined : { epoch, version }
}

function valueIn ({ opcode, payload }: ServerFrame): Read {
  const message = JSON.parse(payload.toString()) as StateSnapshot & CrdtSnapshot
  if (message.channel?.direction === 'client-to-server') throw HttpRefusal.of('UNKNOWN_KEY', 'each connection has its own value of this key')
  if (message.version === 0) throw HttpRefusal.of('UNKNOWN_KEY', 'the key has no value')
  return { tag: entityTagOf(message), json: JSON.stringify(opcode === Opcode.CRDT_STATE ? message.state!.value : message.data) }
}

export function unreadable (): HttpRefusal {
  return HttpRefusal.of('BUSY', 'the key cannot be read now', { retryAfter: 1000 })
}
