import type { Welcome } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Settings } from '../config/settings.js'
import type { Connection } from './connection.js'
import { encodeMessage } from './encoding.js'

/** There are no more correlation ids, even where calls in flight are unlimited. */
const MAX_IDS = 0xffffffff

/** The first message of a connection of protocol version 2. */
export function welcomeOf ({ id, context }: Connection, { heartbeatMs, maxPayload, maxCallsInFlight }: Settings): Buffer {
  const welcome: Welcome = { protocol: 2, connectionId: id, userId: context.userId, heartbeatMs, maxPayload, maxCallsInFlight: Math.min(maxCallsInFlight, MAX_IDS) }
  return encodeMessage(Opcode.WELCOME, 0, JSON.stringify(welcome), Infinity)
}
