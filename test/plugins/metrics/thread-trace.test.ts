import { trace } from '@opentelemetry/api'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../../lib/client/client.js'
import type { Datasole } from '../../../lib/server/datasole.js'
import executor from '../../../plugins/executor.js'
import metrics, { OpenTelemetryExporter, PrometheusExporter } from '../../../plugins/metrics.js'
import { until } from '../../helpers/until.js'
import { startSdk } from './sdk.js'
import { servedEntrances } from './servers.js'

const [, start] = servedEntrances[1]!
const script = (name: string): string => new URL(name, import.meta.url).href
const TRACE = '0af7651916cd43dd8448eb211c80319c'
const options = { traceparent: `00-${TRACE}-b7ad6b7169203331-01` }

t.test('threads: handlers, their commits and the events that they emit belong to the trace of the client', async (t) => {
  const sdk = startSdk(t)
  let ds: Datasole | undefined
  const { url } = await start(t, async (app) => {
    ds = app.ds
    await app.register(executor, { model: 'thread-pool', poolSize: 1, workerScript: script('trace-script.js') })
    await app.register(metrics, { openTelemetry: new OpenTelemetryExporter() })
    app.ds.primitives.events.on('emitted', () => {})
    app.ds.rpc.register('asks', async () => await app.ds.rpc.call('where', undefined))
  })
  const client = new DatasoleClient({ url, webSocket: WebSocket, useWorker: false })
  t.teardown(() => client.disconnect())
  await client.connect()
  const where = await client.rpc('where', undefined, options)
  client.emit('heard', 1, options)
  await until(async () => await ds!.primitives.state.getState('heardAt') !== undefined)
  const spans = sdk.spans()
  const one = (name: string, key?: string) => spans.find((span) => span.name === name && (key === undefined || span.attributes['datasole.key'] === key))!
  const call = one('rpc where')
  const event = one('event heard')
  t.equal(where, call.spanContext().spanId, 'the handler of a call runs within its span')
  t.equal(await ds!.primitives.state.getState('heardAt'), event.spanContext().spanId, 'and that of an event')
  for (const [span, parent] of [[one('commit', 'written'), call], [one('event emitted'), call], [one('commit', 'heardAt'), event]] as const) {
    t.equal(span.parentSpanContext?.spanId, parent.spanContext().spanId, `${span.name} ${String(span.attributes['datasole.key'] ?? '')}`)
  }
  t.ok(spans.every((span) => span.spanContext().traceId === TRACE), 'all of it is one trace')

  const place = await client.rpc('asks', undefined, options)
  t.equal(place, sdk.spans().find(({ name }) => name === 'rpc asks')!.spanContext().spanId, 'a call of server code belongs to its caller')
})

t.test('an event on the main thread belongs to the trace of its client, and the handler sees nothing of it', async (t) => {
  const sdk = startSdk(t)
  const seen: unknown[] = []
  const { url } = await start(t, async (app) => {
    await app.register(metrics, { openTelemetry: new OpenTelemetryExporter() })
    app.ds.primitives.events.on('chat', (message) => { seen.push(Object.keys(message), trace.getActiveSpan()?.spanContext().traceId) })
  })
  const client = new DatasoleClient({ url, webSocket: WebSocket, useWorker: false })
  t.teardown(() => client.disconnect())
  await client.connect()
  client.emit('chat', 1, options)
  await until(() => seen.length === 2)
  t.strictSame(seen, [['event', 'data', 'timestamp'], TRACE])
  t.equal(sdk.spans()[0]!.parentSpanContext?.spanId, 'b7ad6b7169203331')
})

t.test('threads: the time that tasks wait is recorded while somebody records', async (t) => {
  const exporter = new PrometheusExporter()
  let ds: Datasole | undefined
  const { connect } = await start(t, async (app) => {
    ds = app.ds
    await app.register(executor, { model: 'thread-pool', poolSize: 1, workerScript: script('../scope-script.js') })
  })
  const wire = await connect()
  await wire.call('inThread', 1)
  await exporter.attach(ds!)
  const waits = async (): Promise<number> => Number(/queue_wait_seconds_count\{queue="thread"\} (\d+)/.exec(await exporter.export())?.[1] ?? 0)
  t.equal(await waits(), 0)
  for (let i = 0; i < 3; i++) await wire.call('inThread', i)
  t.equal(await waits(), 3, 'one for each task')
  exporter.detach()
  await wire.call('inThread', 4)
  await exporter.attach(ds!)
  await wire.call('inThread', 5)
  t.equal(await waits(), 4, 'and none in between')
})
