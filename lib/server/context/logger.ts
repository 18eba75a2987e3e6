interface LogFn {
  (data: object, message?: string): void
  (message: string): void
}

/** The methods of a logger that datasole uses: pino's, Fastify's, or any other's with the same names. */
export interface Logger {
  fatal: LogFn
  error: LogFn
  warn: LogFn
  info: LogFn
  debug: LogFn
  trace: LogFn
  child (bindings: Record<string, unknown>): Logger
}
