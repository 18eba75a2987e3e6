import { context, metrics as metricsApi, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, type ReadableSpan, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import type { Test } from 'tap'

export interface Sdk {
  spans (): ReadableSpan[]
  /** By instrument, the data points of one collection. */
  collect (): Promise<Map<string, { unit: string, points: Array<{ attributes: object, value: unknown }> }>>
}

/** An SDK as an application starts one, which ends with the test. */
export function startSdk (t: Test): Sdk {
  const spans = new InMemorySpanExporter()
  const points = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 3_600_000 })
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }))
  metricsApi.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }))
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
  t.teardown(async () => {
    for (const api of [trace, metricsApi, context]) api.disable()
    await reader.shutdown()
  })
  return {
    spans: () => spans.getFinishedSpans(),
    async collect () {
      points.reset()
      await reader.forceFlush()
      const all = points.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics).flatMap(({ metrics }) => metrics)
      return new Map(all.map(({ descriptor, dataPoints }) => [descriptor.name, { unit: descriptor.unit, points: dataPoints.map(({ attributes, value }) => ({ attributes, value })) }]))
    }
  }
}
