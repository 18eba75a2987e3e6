import type * as OpenTelemetry from '@opentelemetry/api'
import { DatasoleError } from '../protocol/errors.js'
import type { Metrics } from '../server/metrics/metrics.js'
import { ByLabel } from './by-label.js'
import { BACKEND_METRICS, BOUNDS, HISTOGRAMS, METRICS, type MetricInfo } from './catalog.js'
import { type ExportedServer, checkPrefix, metricsOf } from './metrics-source.js'
import { OpenTelemetryTracer } from './open-telemetry-tracer.js'

type Api = typeof OpenTelemetry

/** Options of `OpenTelemetryExporter`. */
export interface OpenTelemetryExporterOptions {
  /** Prefix of every instrument's name. Default `datasole.`. */
  prefix?: string
}

/** The name of the meter and the tracer. */
const SCOPE = 'datasole'

/**
 * Exports the metrics of one server to OpenTelemetry, and a span for each call, event and commit. It needs the package
 * `@opentelemetry/api`. It does nothing without an OpenTelemetry SDK, which the application must start first.
 */
export class OpenTelemetryExporter {
  readonly #prefix: string
  #isAttached = false
  readonly #undo: Array<() => void> = []

  /** @throws DatasoleError `INVALID_OPTION` if names must not start with the prefix */
  constructor ({ prefix = 'datasole.' }: OpenTelemetryExporterOptions = {}) {
    this.#prefix = checkPrefix('OpenTelemetryExporter: option prefix', prefix, /^([a-zA-Z][\w./-]*)?$/)
  }

  /**
   * Starts to export a server: metrics if the SDK has a meter provider, spans if it has a tracer provider.
   * @param server `ds`
   * @throws DatasoleError `DUPLICATE_REGISTRATION` if the exporter already has a server; `DRIVER_MISSING`
   */
  async attach (server: ExportedServer): Promise<this> {
    if (this.#isAttached) throw new DatasoleError('DUPLICATE_REGISTRATION', 'OpenTelemetryExporter.attach: the exporter already has a server; make one exporter for each server')
    this.#isAttached = true
    let api: Api
    try {
      api = await import('@opentelemetry/api')
    } catch (cause) {
      this.#isAttached = false
      throw new DatasoleError('DRIVER_MISSING', 'OpenTelemetryExporter needs the package @opentelemetry/api: npm install @opentelemetry/api', { cause })
    }
    const metrics = metricsOf(server)
    const meter = api.metrics.getMeter(SCOPE)
    // without an SDK the API returns a no-op meter
    if (meter.constructor !== api.createNoopMeter().constructor) this.#measure(meter, metrics)
    const tracer = OpenTelemetryTracer.of(api, SCOPE)
    if (tracer !== undefined) this.#undo.push(metrics.trace(tracer))
    return this
  }

  /** Stops exporting the server. A second call does nothing. */
  detach (): void {
    for (const undo of this.#undo.splice(0)) undo()
    this.#isAttached = false
  }

  #measure (meter: OpenTelemetry.Meter, metrics: Metrics): void {
    const observe = ({ name, type, help, unit }: Omit<MetricInfo, 'read'>): OpenTelemetry.Observable => {
      const options = { description: help, unit }
      return type === 'gauge' ? meter.createObservableGauge(this.#nameOf(name), options) : meter.createObservableCounter(this.#nameOf(name), options)
    }
    const counts = METRICS.map((info) => ({ info, instrument: observe(info) }))
    const ofBackends = BACKEND_METRICS.map((info) => ({ info, instrument: observe(info) }))
    const callback: OpenTelemetry.BatchObservableCallback = async (result) => {
      const snapshot = metrics.snapshot()
      for (const { info, instrument } of counts) for (const { value, labels } of info.read(snapshot)) result.observe(instrument, value, labels)
      const backends = await metrics.backends()
      for (const { info, instrument } of ofBackends) for (const { value, labels } of info.read(backends)) result.observe(instrument, value, labels)
    }
    const instruments = [...counts, ...ofBackends].map(({ instrument }) => instrument)
    meter.addBatchObservableCallback(callback, instruments)
    this.#undo.push(() => { meter.removeBatchObservableCallback(callback, instruments) })

    const histograms = new Map(HISTOGRAMS.map((info) => [info.duration, {
      label: info.label,
      histogram: meter.createHistogram(this.#nameOf(info.name), { description: info.help, unit: 's', advice: { explicitBucketBoundaries: [...BOUNDS] } })
    }]))
    const attributes = new ByLabel<OpenTelemetry.Attributes>((name, label) => ({ [histograms.get(name)!.label]: label }))
    this.#undo.push(metrics.record({ observe: (name, label, ms) => { histograms.get(name)!.histogram.record(ms / 1000, attributes.of(name, label)) } }))
  }

  /** The name without the suffixes that exporters add for the type and the unit. */
  #nameOf (name: string): string {
    return this.#prefix + name.replace(/(_seconds|_ratio)?(_total)?$/, '')
  }
}
