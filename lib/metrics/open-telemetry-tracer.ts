import type * as OpenTelemetry from '@opentelemetry/api'
import { isA, isThenable, messageOf } from '../protocol/errors.js'
import { HookThrew } from '../server/errors/thrown.js'
import type { SpanKind, TraceContext, Tracer } from '../server/metrics/tracer.js'

type Api = typeof OpenTelemetry

/** The attribute that has the name of a span's method, event or key. */
const ATTRIBUTES: Record<SpanKind, string> = { rpc: 'rpc.method', event: 'datasole.event', commit: 'datasole.key' }

/** Of version 00; a later one may have more behind it. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?=$|-)/

/** Makes spans by the SDK that the application has started. */
export class OpenTelemetryTracer implements Tracer {
  readonly #api: Api
  readonly #tracer: OpenTelemetry.Tracer

  private constructor (api: Api, tracer: OpenTelemetry.Tracer) {
    this.#api = api
    this.#tracer = tracer
  }

  /** Undefined if there is no SDK. */
  static of (api: Api, scope: string): OpenTelemetryTracer | undefined {
    // the api's own provider hands on to that of an SDK, if there is one
    const provider = api.trace.getTracerProvider()
    const tracer = provider instanceof api.ProxyTracerProvider ? provider.getDelegateTracer(scope) : provider.getTracer(scope)
    return tracer === undefined ? undefined : new OpenTelemetryTracer(api, tracer)
  }

  current (): TraceContext {
    return this.#api.context.active()
  }

  from (traceparent: unknown): TraceContext {
    const [, traceId, spanId, flags] = typeof traceparent === 'string' ? TRACEPARENT.exec(traceparent) ?? [] : []
    if (traceId === undefined) return undefined
    const spanContext = { traceId, spanId: spanId!, traceFlags: Number.parseInt(flags!, 16), isRemote: true }
    return this.#api.isSpanContextValid(spanContext) ? this.#api.trace.setSpanContext(this.#api.ROOT_CONTEXT, spanContext) : undefined
  }

  traceparent (): string | undefined {
    const spanContext = this.#api.trace.getSpanContext(this.#api.context.active())
    if (spanContext === undefined || !this.#api.isSpanContextValid(spanContext)) return undefined
    return `00-${spanContext.traceId}-${spanContext.spanId}-${spanContext.traceFlags.toString(16).padStart(2, '0')}`
  }

  open (kind: SpanKind, name: string, parent?: TraceContext): (thrown?: unknown) => void {
    const span = this.#start(kind, name, parent ?? this.current())
    return (thrown) => {
      if (thrown === undefined) span.end()
      else this.#failed(span, thrown)
    }
  }

  run<T> (kind: SpanKind, name: string, fn: () => T, parent: TraceContext = this.current(), links: readonly TraceContext[] = []): T {
    const span = this.#start(kind, name, parent, links)
    return this.#api.context.with(this.#api.trace.setSpan(parent as OpenTelemetry.Context, span), () => this.#within(span, fn))
  }

  #start (kind: SpanKind, name: string, parent: TraceContext, links: readonly TraceContext[] = []): OpenTelemetry.Span {
    const { trace, SpanKind: kinds } = this.#api
    return this.#tracer.startSpan(`${kind} ${kind === 'commit' ? '' : name}`.trim(), {
      kind: kind === 'commit' ? kinds.CLIENT : kinds.SERVER,
      attributes: { [ATTRIBUTES[kind]]: name, ...kind === 'rpc' && { 'rpc.system': 'datasole' } },
      links: links.flatMap((link) => {
        const spanContext = trace.getSpanContext(link as OpenTelemetry.Context)
        return spanContext === undefined ? [] : [{ context: spanContext }]
      })
    }, parent as OpenTelemetry.Context)
  }

  #within<T> (span: OpenTelemetry.Span, fn: () => T): T {
    let result: T
    try {
      result = fn()
    } catch (thrown) {
      this.#failed(span, thrown)
      throw thrown
    }
    if (isThenable(result)) result.then(() => { span.end() }, (thrown: unknown) => { this.#failed(span, thrown) })
    else span.end()
    return result
  }

  #failed (span: OpenTelemetry.Span, failure: unknown): void {
    const thrown = isA(failure, HookThrew) ? failure.thrown : failure
    span.recordException(thrown instanceof Error ? thrown : messageOf(thrown))
    span.setStatus({ code: this.#api.SpanStatusCode.ERROR, message: messageOf(thrown) })
    span.end()
  }
}
