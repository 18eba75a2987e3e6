import type { CrdtSnapshot } from '../../crdt/crdt-frames.js'
import type { Head, StatePatch, StateSnapshot } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Subscriptions } from '../keys/subscriptions.js'
import { type EntityTags, entityTagOf } from './entity-tags.js'
import { type Exchange, STATE } from './exchange.js'
import type { ServerFrame } from './frame-stream.js'
import { HttpRefusal } from './http-refusal.js'

/** Those that have the whole value. */
const WHOLE: readonly number[] = [Opcode.STATE_SNAPSHOT, Opcode.CRDT_STATE]

export interface Reading {
  key: string
  /** The values that the client has: If-None-Match. */
  known: EntityTags | undefined
  /** ms to wait for another value than those. */
  waitMs: number
  /** ms that hooks and the backend have for each answer. */
  timeoutMs: number
}

/** A value as JSON text; without it the client has it. */
export interface Read { tag: string, json: string | undefined }

/**
 * Reads a key as a subscription does, and ends it.
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
      // a key that is deleted meanwhile is news, too
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

/** Where the client stands after a frame; undefined if that is where no value is. */
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
