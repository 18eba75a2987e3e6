/**
 * SQLSTATEs of temporary errors: connection exceptions, too many connections, shutting down or starting up, an idle
 * timeout, read-only after a failover, a lock or statement timeout, a deadlock or serialization failure.
 */
const NOT_NOW = /^(08...|53300|57P0[1235]|57014|55P03|25006|40001|40P01)$/

/**
 * SQLSTATEs after which the outcome of a statement is unknown: the connection or the server ended, or Postgres itself
 * does not know. Any other error rolls back the statement.
 */
const OPEN = /^(08...|40003|57P0.|58...|XX...)$/

/** Severities of errors that end the connection. A server may translate them, so the SQLSTATE is checked, too. */
const FATAL = /^(FATAL|PANIC)$/

interface PostgresError { code?: unknown, severity?: unknown }

/** Whether Postgres sent the error. */
export function isReply (error: unknown): boolean {
  return (error as PostgresError | undefined)?.severity !== undefined
}

export function isNotNow (error: unknown): boolean { return NOT_NOW.test(String((error as PostgresError).code)) }

/** Whether a statement that failed with this error may have taken effect. */
export function mayHaveRun (error: unknown): boolean {
  const { code, severity } = error as PostgresError
  return !isReply(error) || FATAL.test(String(severity)) || OPEN.test(String(code))
}
