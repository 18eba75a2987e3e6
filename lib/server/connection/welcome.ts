import type { Welcome } from '../../protocol/messages.js'
import { Opcode } from '../../protocol/opcodes.js'
import type { Settings } from '../config/settings.js'
import type { Connection } from './connection.js'
import { encodeMessage } from './encoding.js'
import { TIME_BASE } from './time-base.js'

/** Number of correlation ids: the maximum of calls in flight, even if the option is Infinity. */
const MAX_IDS = 0xffffffff

/** The members that are the same for all connections, as JSON text. */
const limitsBySettings = new WeakMap<Settings, string>()

/** The first message to a connection, from protocol version 2 on. */
export function welcomeOf ({ id, context: { protocol, userId } }: Connection, settings: Settings): Buffer {
  let limits = limitsBySettings.get(settings)
  if (limits === undefined) limitsBySettings.set(settings, limits = limitsOf(settings))
  const version = protocol === 3 ? `3,"at":${TIME_BASE}` : '2'
  const user = userId === undefined ? '' : `"userId":${JSON.stringify(userId)},`
  return encodeMessage(Opcode.WELCOME, 0, `{"protocol":${version},"connectionId":"${id}",${user}${limits}}`, Infinity)
}

function limitsOf ({ heartbeatMs, maxPayload, maxCallsInFlight }: Settings): string {
  const limits: Omit<Welcome, 'protocol' | 'connectionId'> = { heartbeatMs, maxPayload, maxCallsInFlight: Math.min(maxCallsInFlight, MAX_IDS) }
  return JSON.stringify(limits).slice(1, -1)
}
