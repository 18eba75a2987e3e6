interface LogFn {
  (data: object, message?: string): void
  (message: string): void
}

/** What datasole needs of a logger: pino, Fastify's own, or anything with the same methods. */
export interface Logger {
  fatal: LogFn
  error: LogFn
  warn: LogFn
  info: LogFn
  debug: LogFn
  trace: LogFn
  child (bindings: Record<string, unknown>): Logger
}
