import { DatasoleError } from '../protocol/errors.js'
import { type Metrics, runningMetrics } from '../server/metrics/metrics.js'

/** A server whose metrics are exported: `fastify.ds`, or a `DatasoleServer`. */
export interface ExportedServer {
  /** Its `ds.metrics`. */
  readonly metrics: Pick<Metrics, 'snapshot' | 'backends'>
}

/** The metrics of a server, for exporters. */
export function metricsOf (server: ExportedServer): Metrics {
  return server.metrics as Metrics
}

/**
 * The metrics of the only server in this process.
 * @throws DatasoleError `NOT_STARTED` if no server or more than one is running
 */
export function onlyMetrics (): Metrics {
  const all = runningMetrics()
  if (all.length !== 1) throw new DatasoleError('NOT_STARTED', `export: the exporter has no server, and ${all.length} servers run in this process. Call attach(ds) first, or pass a snapshot`)
  return all[0]!
}

/** @throws DatasoleError `INVALID_OPTION` */
export function checkPrefix (option: string, prefix: unknown, pattern: RegExp): string {
  if (typeof prefix !== 'string' || !pattern.test(prefix)) throw new DatasoleError('INVALID_OPTION', `${option} must be a string that matches ${String(pattern)}, not ${String(prefix)}`)
  return prefix
}
