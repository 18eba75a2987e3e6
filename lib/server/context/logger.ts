interface LogFn {
  (data: object, message?: string): void
  (message: string): void
}

/** The methods of a logger that datasole uses: pino's, Fastify's, or any other's with the same names. */
export interface Logger {
  /** The process is about to end. */
  fatal: LogFn
  /** Something failed. */
  error: LogFn
  /** Something needs a look. */
  warn: LogFn
  /** Something worth knowing happened. */
  info: LogFn
  /** For debugging. */
  debug: LogFn
  /** For debugging, in every detail. */
  trace: LogFn
  /** Makes a logger that adds the bindings to each line. @param bindings members of each line */
  child (bindings: Record<string, unknown>): Logger
}
