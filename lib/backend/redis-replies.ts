import { messageOf } from '../protocol/errors.js'

/**
 * Error replies that pass: Redis is loading, is a replica, lacks its master or enough replicas, runs another script,
 * or moves slots of a Cluster. The command may be sent again.
 */
const NOT_NOW = new Set(['LOADING', 'READONLY', 'MASTERDOWN', 'NOREPLICAS', 'BUSY', 'CLUSTERDOWN', 'TRYAGAIN'])

/** Refusals of a connection: credentials, protected mode, the database's number. */
const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM|DENIED|ERR invalid password)/
const WRONG_DATABASE = /^ERR (DB index|invalid DB)/

/** Errors that Redis raises only before the first write of a script: a script that has written runs to its end. */
const BEFORE_WRITES = new Set(['READONLY', 'MASTERDOWN', 'NOREPLICAS', 'OOM', 'MISCONF'])

/** ioredis had no connection to send the command on. A Cluster client has another message, also for commands that it has sent. */
const NOT_SENT = /^Stream isn't writeable and enableOfflineQueue/

/** The place in a script follows the message in Redis 7, and precedes it in Redis 6. */
const IN_SCRIPT = /@user_script|^ERR Error running script/
const WRAPPED = /^ERR Error running script.*@user_script: ?\d+: -([A-Z]+) /
const KILLED = /Script killed by user/

/** The code of an error reply: its first word. Redis 6 wraps the reply of a command in a script. */
function codeOf (message: string): string {
  return WRAPPED.exec(message)?.[1] ?? message.slice(0, message.indexOf(' '))
}

export function isReply (error: unknown): boolean {
  return (error as { name?: unknown } | undefined)?.name === 'ReplyError'
}

export function isNotNow (message: string): boolean { return NOT_NOW.has(codeOf(message)) }

export function isReadOnly (message: string): boolean { return codeOf(message) === 'READONLY' }

/** Whether another attempt to connect would be refused too. */
export function isRefusal (error: unknown): boolean {
  const message = messageOf(error)
  return REFUSED.test(message) || WRONG_DATABASE.test(message)
}

export function isWrongDatabase (error: unknown): boolean { return WRONG_DATABASE.test(messageOf(error)) }

/**
 * Whether a script that failed with this error may have taken effect, or still may. After most error replies the script
 * has written nothing. A script that fails in the middle keeps what it has written before.
 */
export function mayHaveRun (error: unknown): boolean {
  const message = messageOf(error)
  if (!isReply(error)) return !NOT_SENT.test(message)
  return IN_SCRIPT.test(message) && !BEFORE_WRITES.has(codeOf(message)) && !KILLED.test(message)
}
