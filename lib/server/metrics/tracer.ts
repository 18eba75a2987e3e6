/** The place in a trace that work belongs to; what it is, only the tracer knows. */
export type TraceContext = unknown

export type SpanKind = 'rpc' | 'event' | 'commit'

/** A span whose work happens elsewhere. */
export interface OpenSpan {
  /** The place of the work: W3C Trace Context. */
  readonly traceparent: string | undefined
  /** @param thrown what the work threw, if it threw */
  end (thrown?: unknown): void
}

/** Makes a span of each call, event and commit. */
export interface Tracer {
  /** The place in the trace of the code that runs now. */
  current (): TraceContext
  /** The place that a `traceparent` names (W3C Trace Context, section 3.2); undefined for anything else. */
  from (traceparent: unknown): TraceContext
  /** The `traceparent` of the code that runs now; undefined outside of a trace. */
  traceparent (): string | undefined
  /** Runs `fn` at another place in a trace, without a span of its own. */
  within<T> (parent: TraceContext, fn: () => T): T
  /** Begins a span of work that happens elsewhere. */
  open (kind: SpanKind, name: string, parent?: TraceContext): OpenSpan
  /**
   * Runs `fn` within a span. It ends when `fn` has returned, or when the promise settles that `fn` returned.
   * @param name of the method or event; of a commit its key
   * @param parent the place that it belongs to, where it is not that of the code that runs now
   * @param links other places that it is the work of
   */
  run<T> (kind: SpanKind, name: string, fn: () => T, parent?: TraceContext, links?: readonly TraceContext[]): T
}
