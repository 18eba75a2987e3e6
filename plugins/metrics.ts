import type { OpenTelemetryExporter } from '../lib/metrics/open-telemetry-exporter.js'
import { PrometheusExporter } from '../lib/metrics/prometheus-exporter.js'
import { checkFunction, integer, invalid } from '../lib/server/config/checks.js'
import { METRICS } from '../lib/server/scope/services.js'
import { define } from './define.js'

export { OpenTelemetryExporter, type OpenTelemetryExporterOptions } from '../lib/metrics/open-telemetry-exporter.js'
export { PrometheusExporter, type PrometheusExporterOptions, type PrometheusRegistry } from '../lib/metrics/prometheus-exporter.js'

/** Options of the plugin `datasole/metrics`. */
export interface MetricsPluginOptions {
  /** Path prefix of `/metrics` and `/health`, after the prefix of the scope. Default none. */
  prefix?: string
  /** The exporter of `/metrics`. Default `new PrometheusExporter()`. */
  exporter?: PrometheusExporter
  /** Also exports the server to OpenTelemetry. Default none. */
  openTelemetry?: OpenTelemetryExporter
  /** Timeout in ms for a backend to answer `/health`. Default 1,000. */
  healthTimeoutMs?: number
}

/** A valid path prefix of routes. */
const PATH = /^(\/[^/?#*:]+)*$/

/**
 * Serves the metrics of the server for Prometheus at `{prefix}/metrics`, and its health at `{prefix}/health`: 200 if
 * every backend answers, else 503. Both belong to the scope, with the scope's hooks.
 * @throws DatasoleError `DRIVER_MISSING` without prom-client, `DUPLICATE_REGISTRATION`, `INVALID_OPTION`
 */
export default define<MetricsPluginOptions>('datasole/metrics', async ({ app, core, scope, plugin }, { prefix = '', exporter = new PrometheusExporter(), healthTimeoutMs = 1000, openTelemetry }) => {
  if (typeof prefix !== 'string' || !PATH.test(prefix)) throw invalid('prefix', `of ${plugin} must be a path such as "/ops", not ${JSON.stringify(prefix)}`)
  integer('healthTimeoutMs', healthTimeoutMs, 1, 60_000)
  for (const method of ['attach', 'detach', 'export'] as const) checkFunction(`exporter.${method}`, exporter[method])
  if (openTelemetry !== undefined) for (const method of ['attach', 'detach'] as const) checkFunction(`openTelemetry.${method}`, openTelemetry[method])
  scope.provide(METRICS, exporter, plugin)
  await exporter.attach(core)
  await openTelemetry?.attach(core)
  app.addHook('onClose', () => {
    exporter.detach()
    openTelemetry?.detach()
  })

  // do not log scrapes, which come every few seconds
  const options = { logLevel: 'warn', exposeHeadRoute: true } as const
  app.get(`${prefix}/metrics`, options, async (_request, reply) => await reply.type(exporter.contentType).header('cache-control', 'no-store').send(await exporter.export()))
  app.get(`${prefix}/health`, options, async (_request, reply) => {
    const backends = await core.metrics.backends(healthTimeoutMs)
    const isReady = !core.isDraining && backends.every(({ ready }) => ready)
    return await reply.code(isReady ? 200 : 503).header('cache-control', 'no-store').send({ status: isReady ? 'ready' : 'unavailable', backends })
  })
  for (const route of ['metrics', 'health']) core.routes.add(`${app.prefix}${prefix}/${route}`)
})
