import type * as OpenTelemetry from '@opentelemetry/api'
import { isA, isThenable, messageOf } from '../protocol/errors.js'
import { HookThrew } from '../server/errors/thrown.js'
import type { OpenSpan, SpanKind, TraceContext, Tracer } from '../server/metrics/tracer.js'
import { contextOf, traceparentOf } from './trace-context.js'

type Api = typeof OpenTelemetry

/** The span attribute with the name of the method, event or key. */
const ATTRIBUTES: Record<SpanKind, string> = { rpc: 'rpc.method', event: 'datasole.event', commit: 'datasole.key' }

/** Creates spans with the SDK that the application has started. */
export class OpenTelemetryTracer implements Tracer {
  readonly #api: Api
  readonly #tracer: OpenTelemetry.Tracer

  private constructor (api: Api, tracer: OpenTelemetry.Tracer) {
    this.#api = api
    this.#tracer = tracer
  }

  /** Creates a tracer; undefined without an SDK. */
  static of (api: Api, scope: string): OpenTelemetryTracer | undefined {
    // the API's own provider delegates to the provider of an SDK, if there is one
    const provider = api.trace.getTracerProvider()
    const tracer = provider instanceof api.ProxyTracerProvider ? provider.getDelegateTracer(scope) : provider.getTracer(scope)
    return tracer === undefined ? undefined : new OpenTelemetryTracer(api, tracer)
  }

  current (): TraceContext {
    return this.#api.context.active()
  }

  from (traceparent: unknown): TraceContext {
    return contextOf(this.#api, traceparent)
  }

  traceparent (): string | undefined {
    return traceparentOf(this.#api, this.#api.trace.getSpanContext(this.#api.context.active()))
  }

  within<T> (parent: TraceContext, fn: () => T): T {
    return parent === undefined ? fn() : this.#api.context.with(parent as OpenTelemetry.Context, fn)
  }

  open (kind: SpanKind, name: string, parent?: TraceContext): OpenSpan {
    const span = this.#start(kind, name, parent ?? this.current())
    return {
      traceparent: traceparentOf(this.#api, span.spanContext()),
      end: (thrown) => {
        if (thrown === undefined) span.end()
        else this.#failed(span, thrown)
      }
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
