import { messageOf } from '../protocol/errors.js'

/**
 * Temporary error replies, after which the command may be sent again: Redis is loading, is a replica, lacks its master
 * or enough replicas, runs another script, or moves slots of a Cluster.
 */
const NOT_NOW = new Set(['LOADING', 'READONLY', 'MASTERDOWN', 'NOREPLICAS', 'BUSY', 'CLUSTERDOWN', 'TRYAGAIN'])

/** Replies that refuse a connection: credentials, protected mode, the number of the database. */
const REFUSED = /^(WRONGPASS|NOAUTH|NOPERM|DENIED|ERR invalid password)/
const WRONG_DATABASE = /^ERR (DB index|invalid DB)/

/** Errors that Redis raises only before the first write of a script. A script that has written runs to its end. */
const BEFORE_WRITES = new Set(['READONLY', 'MASTERDOWN', 'NOREPLICAS', 'OOM', 'MISCONF'])

/** ioredis had no connection for the command. A Cluster client has another message, even for commands it has sent. */
const NOT_SENT = /^Stream isn't writeable and enableOfflineQueue/

/** Marks an error as raised in a script. It is after the message in Redis 7, and before it in Redis 6. */
const IN_SCRIPT = /@user_script|^ERR Error running script/
const WRAPPED = /^ERR Error running script.*@user_script: ?\d+: -([A-Z]+) /
const KILLED = /Script killed by user/

/** The code of an error reply: its first word. Redis 6 wraps the error of a command in a script. */
function codeOf (message: string): string {
  return WRAPPED.exec(message)?.[1] ?? message.slice(0, message.indexOf(' '))
}

export function isReply (error: unknown): boolean {
  return (error as { name?: unknown } | undefined)?.name === 'ReplyError'
}

export function isNotNow (message: string): boolean { return NOT_NOW.has(codeOf(message)) }

export function isReadOnly (message: string): boolean { return codeOf(message) === 'READONLY' }

/** Whether Redis refuses the connection, so that another attempt would fail, too. */
export function isRefusal (error: unknown): boolean {
  const message = messageOf(error)
  return REFUSED.test(message) || WRONG_DATABASE.test(message)
}

export function isWrongDatabase (error: unknown): boolean { return WRONG_DATABASE.test(messageOf(error)) }

/**
 * Whether a script that failed with this error may have taken effect, or still may. Most error replies mean that the
 * script has written nothing. A script that fails in the middle keeps its earlier writes.
 */
export function mayHaveRun (error: unknown): boolean {
  const message = messageOf(error)
  if (!isReply(error)) return !NOT_SENT.test(message)
  return IN_SCRIPT.test(message) && !BEFORE_WRITES.has(codeOf(message)) && !KILLED.test(message)
}
