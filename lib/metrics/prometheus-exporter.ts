import type * as Prom from 'prom-client'
import { DatasoleError } from '../protocol/errors.js'
import type { BackendHealth, Metrics, MetricsSnapshot } from '../server/metrics/metrics.js'
import { BucketsRecorder, type Series } from './buckets-recorder.js'
import { BACKEND_METRICS, BOUNDS, HISTOGRAMS, type HistogramInfo, METRICS, type MetricInfo, type Sample } from './catalog.js'
import { type ExportedServer, checkPrefix, metricsOf, onlyMetrics } from './metrics-source.js'

type PromClient = typeof Prom

/** The part of prom-client's `Registry` that datasole uses. */
export interface PrometheusRegistry {
  /** The media type of the text. */
  readonly contentType: string
  /** @returns all metrics as text */
  metrics (): Promise<string>
  /** Adds a metric. @param metric a metric of prom-client */
  registerMetric (metric: never): void
  /** Removes a metric. @param name its name */
  removeSingleMetric (name: string): void
}

/** Options of `PrometheusExporter`. */
export interface PrometheusExporterOptions {
  /** Prefix of every name; `_` is added if it is missing. Default `datasole_`; empty for no prefix. */
  prefix?: string
  /** The prom-client registry to which the metrics are added. Default: a registry of the exporter. */
  registry?: PrometheusRegistry
}

/** The source of the metrics in a registry. */
interface Source {
  snapshot (): MetricsSnapshot
  backends (): Promise<BackendHealth[]>
  series (histogram: HistogramInfo): ReadonlyMap<string, Series>
}

/** Exports the metrics of one server in the Prometheus text format. It needs the package `prom-client`. */
export class PrometheusExporter {
  readonly #prefix: string
  readonly #given: PrometheusRegistry | undefined
  readonly #recorder = new BucketsRecorder()
  #registry: Promise<PrometheusRegistry> | undefined
  #metrics: Metrics | undefined
  #stopRecording: (() => void) | undefined
  /** The snapshot of the current scrape, which all metrics share. */
  #snapshot: MetricsSnapshot | undefined
  #backends: Promise<BackendHealth[]> | undefined

  /** @throws DatasoleError `INVALID_OPTION` if names must not start with the prefix */
  constructor ({ prefix = 'datasole_', registry }: PrometheusExporterOptions = {}) {
    checkPrefix('PrometheusExporter: option prefix', prefix, /^([a-zA-Z_:][a-zA-Z0-9_:]*)?$/)
    this.#prefix = prefix === '' || prefix.endsWith('_') ? prefix : `${prefix}_`
    this.#given = registry
  }

  /**
   * Starts to export a server and to measure its durations. Adds the metrics to the option `registry`, if given.
   * @param server `ds`
   * @throws DatasoleError `DUPLICATE_REGISTRATION` if the exporter already has a server; `DRIVER_MISSING`
   */
  async attach (server: ExportedServer): Promise<this> {
    this.#attach(metricsOf(server))
    try {
      await this.#open()
    } catch (error) {
      this.detach()
      throw error
    }
    return this
  }

  /** Detaches the server, and removes its metrics from the registry. A second call does nothing. */
  detach (): void {
    this.#registry?.then((registry) => { unregister(registry, this.#prefix) }, () => {}) // the caller of #open has already got the error
    this.#registry = undefined
    this.#stopRecording?.()
    this.#stopRecording = undefined
    this.#metrics = undefined
  }

  /**
   * Returns the metrics as text. An exporter without a server attaches to the only server in this process.
   * @param snapshot exports this snapshot instead, without durations and backends
   * @throws DatasoleError `DRIVER_MISSING`; `NOT_STARTED` without a server
   */
  async export (snapshot?: MetricsSnapshot): Promise<string> {
    if (snapshot !== undefined) {
      const prom = await loadProm()
      const registry = new prom.Registry()
      register(prom, registry, this.#prefix, { snapshot: () => snapshot, backends: async () => [], series: () => new Map() })
      return await registry.metrics()
    }
    if (this.#metrics === undefined) this.#attach(onlyMetrics())
    return await (await this.#open()).metrics()
  }

  /** The `content-type` for the text of `export`. */
  get contentType (): string {
    return this.#given?.contentType ?? 'text/plain; version=0.0.4; charset=utf-8'
  }

  #attach (metrics: Metrics): void {
    if (this.#metrics !== undefined) throw new DatasoleError('DUPLICATE_REGISTRATION', 'PrometheusExporter.attach: the exporter already has a server; make one exporter for each server')
    this.#metrics = metrics
    this.#stopRecording = metrics.record(this.#recorder)
  }

  /** The registry, with the metrics added. */
  #open (): Promise<PrometheusRegistry> {
    return (this.#registry ??= this.#register().catch((error: unknown) => {
      this.#registry = undefined
      throw error
    }))
  }

  async #register (): Promise<PrometheusRegistry> {
    const prom = await loadProm()
    const registry = this.#given ?? new prom.Registry()
    register(prom, registry, this.#prefix, {
      snapshot: () => this.#take(),
      backends: () => (this.#backends ??= this.#ask()),
      series: ({ duration }) => this.#recorder.series(duration)
    })
    return registry
  }

  /** The snapshot of this turn of the event loop. A registry reads all of its metrics in one turn. */
  #take (): MetricsSnapshot {
    if (this.#snapshot === undefined) setImmediate(() => { this.#snapshot = undefined })
    return (this.#snapshot ??= (this.#metrics ?? onlyMetrics()).snapshot())
  }

  async #ask (): Promise<BackendHealth[]> {
    try {
      return await (this.#metrics?.backends() ?? [])
    } finally {
      this.#backends = undefined
    }
  }
}

/** @throws DatasoleError `DRIVER_MISSING` */
async function loadProm (): Promise<PromClient> {
  try {
    const { default: prom } = await import('prom-client') as unknown as { default: PromClient }
    return prom
  } catch (cause) {
    throw new DatasoleError('DRIVER_MISSING', 'PrometheusExporter needs the package prom-client: npm install prom-client', { cause })
  }
}

function register (prom: PromClient, registry: PrometheusRegistry, prefix: string, source: Source): void {
  const add = ({ type, name, help, labels }: Omit<MetricInfo, 'read'>, read: () => Sample[] | Promise<Sample[]>): void => {
    const options = { name: prefix + name, help, labelNames: [...labels], registers: [registry as InstanceType<PromClient['Registry']>] }
    if (type === 'gauge') void new prom.Gauge({ ...options, async collect () { fill(this, (sample) => { this.set(sample.labels, sample.value) }, labels, await read()) } })
    else void new prom.Counter({ ...options, async collect () { fill(this, (sample) => { this.inc(sample.labels, sample.value) }, labels, await read()) } })
  }
  for (const info of METRICS) add(info, () => info.read(source.snapshot()))
  for (const info of BACKEND_METRICS) add(info, async () => info.read(await source.backends()))
  for (const info of HISTOGRAMS) registry.registerMetric(histogram(prefix + info.name, info, source) as never)
}

function unregister (registry: PrometheusRegistry, prefix: string): void {
  for (const { name } of [...METRICS, ...BACKEND_METRICS, ...HISTOGRAMS]) registry.removeSingleMetric(prefix + name)
}

/** Sets the samples of a metric. Without labels, `reset` sets a zero, so a metric without samples must be removed. */
function fill (metric: { reset (): void, remove (...labels: string[]): void }, put: (sample: Sample) => void, labels: readonly string[], samples: Sample[]): void {
  metric.reset()
  if (labels.length === 0 && samples.length === 0) metric.remove()
  for (const sample of samples) put(sample)
}

/** A histogram with counts per bucket, which prom-client's own histogram does not accept. */
function histogram (name: string, info: HistogramInfo, source: Source): object {
  return {
    name,
    help: info.help,
    type: 'histogram',
    aggregator: 'sum',
    reset () {},
    async get () {
      const values = Array.from(source.series(info)).flatMap(([label, series]) => valuesOf(name, { [info.label]: label }, series))
      return { name, help: info.help, type: 'histogram', aggregator: 'sum', values }
    }
  }
}

function valuesOf (name: string, labels: Record<string, string>, { counts, sumMs }: Series): object[] {
  let count = 0
  const buckets = [...BOUNDS, '+Inf'].map((le, at) => {
    count += counts[at]!
    return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: count }
  })
  return [...buckets, { metricName: `${name}_sum`, labels, value: sumMs / 1000 }, { metricName: `${name}_count`, labels, value: count }]
}
