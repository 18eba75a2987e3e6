/** A position in a trace. Only the tracer knows its type. */
export type TraceContext = unknown

export type SpanKind = 'rpc' | 'event' | 'commit'

/** A span of work that runs elsewhere, such as in a worker. */
export interface OpenSpan {
  /** The position of the work (W3C Trace Context). */
  readonly traceparent: string | undefined
  /** @param thrown what the work threw, if it threw */
  end (thrown?: unknown): void
}

/** Creates a span for each call, event and commit. */
export interface Tracer {
  /** The position in the trace of the code that runs now. */
  current (): TraceContext
  /** The position that a `traceparent` names (W3C Trace Context, section 3.2); undefined if it is not one. */
  from (traceparent: unknown): TraceContext
  /** The `traceparent` of the code that runs now; undefined outside of a trace. */
  traceparent (): string | undefined
  /** Runs `fn` at another position in a trace, without creating a span. */
  within<T> (parent: TraceContext, fn: () => T): T
  /** Begins a span of work that runs elsewhere. */
  open (kind: SpanKind, name: string, parent?: TraceContext): OpenSpan
  /**
   * Runs `fn` within a span. The span ends when `fn` returns, or when the promise that it returned settles.
   * @param name the method or event; for a commit, the key
   * @param parent the position of the parent; default that of the code that runs now
   * @param links further positions that caused the work
   */
  run<T> (kind: SpanKind, name: string, fn: () => T, parent?: TraceContext, links?: readonly TraceContext[]): T
}
