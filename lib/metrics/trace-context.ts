import type * as OpenTelemetry from '@opentelemetry/api'

type Api = typeof OpenTelemetry

/** A `traceparent` of version 00. Later versions may append more fields. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?=$|-)/

/** Parses a `traceparent` (W3C Trace Context, section 3.2) to a context; undefined if it is invalid. */
export function contextOf ({ ROOT_CONTEXT, isSpanContextValid, trace }: Api, traceparent: unknown): OpenTelemetry.Context | undefined {
  const [, traceId, spanId, flags] = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent) ?? [] : []
  if (traceId === undefined) return undefined
  const spanContext = { traceId, spanId: spanId!, traceFlags: Number.parseInt(flags!, 16), isRemote: true }
  return isSpanContextValid(spanContext) ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : undefined
}

/** The `traceparent` of a span; undefined outside of a trace. */
export function traceparentOf ({ isSpanContextValid }: Api, spanContext: OpenTelemetry.SpanContext | undefined): string | undefined {
  if (spanContext === undefined || !isSpanContextValid(spanContext)) return undefined
  return `00-${spanContext.traceId}-${spanContext.spanId}-${spanContext.traceFlags.toString(16).padStart(2, '0')}`
}
