import { messageOf } from '../protocol/errors.js'

/**
 * Whether Redis said that the command is not for now: it is loading, a replica (without its master), writes without
 * enough replicas, another script runs, or slots of a Cluster are moved. It may be sent again.
 */
const NOT_NOW = new Set(['LOADING', 'READONLY', 'MASTERDOWN', 'NOREPLICAS', 'BUSY', 'CLUSTERDOWN', 'TRYAGAIN'])

/** Refusals of a connection: credentials, protected mode, the database's number. */
const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM|DENIED|ERR invalid password)/
const WRONG_DATABASE = /^ERR (DB index|invalid DB)/

/** What Redis looks at before the first write of a script, and never after it: a script that wrote runs to its end. */
const BEFORE_WRITES = new Set(['READONLY', 'MASTERDOWN', 'NOREPLICAS', 'OOM', 'MISCONF'])

/** The client had no connection to send it on. A Cluster client says it otherwise, also of what it has sent before. */
const NOT_SENT = /^Stream isn't writeable and enableOfflineQueue/

/** Redis 7 says where in a script an error occurred behind the message, Redis 6 before it. */
const IN_SCRIPT = /@user_script|^ERR Error running script/
const WRAPPED = /^ERR Error running script.*@user_script: ?\d+: -([A-Z]+) /
const KILLED = /Script killed by user/

/** The code of an error reply: its first word, also where Redis 6 wraps that of a command in a script. */
function codeOf (message: string): string {
  return WRAPPED.exec(message)?.[1] ?? message.slice(0, message.indexOf(' '))
}

export function isReply (error: unknown): boolean {
  return (error as { name?: unknown } | undefined)?.name === 'ReplyError'
}

export function isNotNow (message: string): boolean { return NOT_NOW.has(codeOf(message)) }

export function isReadOnly (message: string): boolean { return codeOf(message) === 'READONLY' }

/** Whether whoever connects again is refused again. */
export function isRefusal (error: unknown): boolean {
  const message = messageOf(error)
  return REFUSED.test(message) || WRONG_DATABASE.test(message)
}

export function isWrongDatabase (error: unknown): boolean { return WRONG_DATABASE.test(messageOf(error)) }

/**
 * Whether a script may have taken effect, or still may, although it failed with this. An error reply says that it was
 * not begun, or could not write; but a script that fails in its middle keeps what it has written before.
 */
export function mayHaveRun (error: unknown): boolean {
  const message = messageOf(error)
  if (!isReply(error)) return !NOT_SENT.test(message)
  return IN_SCRIPT.test(message) && !BEFORE_WRITES.has(codeOf(message)) && !KILLED.test(message)
}
