/**
 * SQLSTATEs by which Postgres says that it cannot just now: connection exceptions, too many connections, shutting
 * down or starting up, idle for too long, read-only after a failover; a lock or a time that ran out; and what it
 * rolled back for others' sake.
 */
const NOT_NOW = /^(08...|53300|57P0[1235]|57014|55P03|25006|40001|40P01)$/

/**
 * Those that leave a statement open: the connection or the server ended, or Postgres itself does not know. Any other error
 * rolls the statement back.
 */
const OPEN = /^(08...|40003|57P0.|58...|XX...)$/

/** They end the connection. A server of another language says it otherwise. */
const FATAL = /^(FATAL|PANIC)$/

interface PostgresError { code?: unknown, severity?: unknown }

/** Whether it is what Postgres answered. */
export function isReply (error: unknown): boolean {
  return (error as PostgresError | undefined)?.severity !== undefined
}

export function isNotNow (error: unknown): boolean { return NOT_NOW.test(String((error as PostgresError).code)) }

/** Whether a statement that was sent may have taken effect, although it failed with this. */
export function mayHaveRun (error: unknown): boolean {
  const { code, severity } = error as PostgresError
  return !isReply(error) || FATAL.test(String(severity)) || OPEN.test(String(code))
}
