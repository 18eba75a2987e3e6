import type { Welcome } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Settings } from '../config/settings.js'
import type { Connection } from './connection.js'
import { encodeMessage } from './encoding.js'

/** There are no more correlation ids, even where calls in flight are unlimited. */
const MAX_IDS = 0xffffffff

/** The Unix time in ms that compact events count from: any time that all connections of the process can share. */
export const TIME_BASE = Date.now()

/** The first message of a connection, from protocol version 2 on. */
export function welcomeOf ({ id, context }: Connection, { heartbeatMs, maxPayload, maxCallsInFlight }: Settings): Buffer {
  const version = context.protocol === 3 ? { protocol: 3, at: TIME_BASE } as const : { protocol: 2 } as const
  const welcome: Welcome = { ...version, connectionId: id, userId: context.userId, heartbeatMs, maxPayload, maxCallsInFlight: Math.min(maxCallsInFlight, MAX_IDS) }
  return encodeMessage(Opcode.WELCOME, 0, JSON.stringify(welcome), Infinity)
}
