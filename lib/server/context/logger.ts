interface LogFn {
  (data: object, message?: string): void
  (message: string): void
}

/** The methods of a logger that datasole uses. pino and Fastify's logger have them. */
export interface Logger {
  /** Logs an error that ends the process. */
  fatal: LogFn
  /** Logs a failure. */
  error: LogFn
  /** Logs a warning. */
  warn: LogFn
  /** Logs an event of normal operation. */
  info: LogFn
  /** Logs for debugging. */
  debug: LogFn
  /** Logs every detail, for debugging. */
  trace: LogFn
  /** Makes a logger that adds the bindings to each line. @param bindings members of each line */
  child (bindings: Record<string, unknown>): Logger
}
