import { trace } from '@opentelemetry/api'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../../lib/client/client.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import { Datasole } from '../../../lib/server/datasole.js'
import executor from '../../../plugins/executor.js'
import metrics, { OpenTelemetryExporter } from '../../../plugins/metrics.js'
import { RedisBackend } from '../../../plugins/server.js'
import { cluster } from '../../helpers/nodes.js'
import { redisServer } from '../../helpers/redis-server.js'
import { until } from '../../helpers/until.js'
import { startSdk } from './sdk.js'
import { servedEntrances } from './servers.js'

t.test('OpenTelemetry: without an SDK nothing is measured or traced', async (t) => {
  const { default: Fastify } = await import('fastify')
  const { default: datasole } = await import('../../../index.js')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  const exporter = await new OpenTelemetryExporter().attach(app.ds)
  const inside = Datasole.insideOf(app).core.metrics
  t.equal(inside.begin(), 0)
  t.equal(inside.tracer, undefined)
  await t.rejects(exporter.attach(app.ds), { code: 'DUPLICATE_REGISTRATION' })
  t.throws(() => new OpenTelemetryExporter({ prefix: '1' }), { code: 'INVALID_OPTION' })
})

for (const [entrance, start] of servedEntrances) {
  t.test(`${entrance}: OpenTelemetry gets metrics, and a span for each call, event and commit`, async (t) => {
    const sdk = startSdk(t)
    const exporter = new OpenTelemetryExporter()
    let ds: Datasole | undefined
    const { connect } = await start(t, async (app) => {
      ds = app.ds
      await app.register(metrics, { openTelemetry: exporter })
      app.ds.rpc.register('save', async () => { await app.ds.primitives.live.setState('k', Math.random()) })
      app.ds.rpc.register('fails', async () => { throw new Error('on purpose') })
      app.ds.primitives.events.on('chat', () => { trace.getTracer('app').startSpan('inner').end() })
    })
    const wire = await connect()
    await wire.call('save')
    await wire.call('fails')
    wire.send(Opcode.EVENT_C2S, 0, { event: 'chat' })
    await until(() => sdk.spans().length === 5)

    const byName = new Map(sdk.spans().map((span) => [span.name, span]))
    t.strictSame([...byName.keys()].sort(), ['commit', 'event chat', 'inner', 'rpc fails', 'rpc save'])
    const parentOf = (name: string): string | undefined => byName.get(name)!.parentSpanContext?.spanId
    t.equal(parentOf('commit'), byName.get('rpc save')!.spanContext().spanId, 'the commit belongs to the call')
    t.equal(parentOf('inner'), byName.get('event chat')!.spanContext().spanId, 'what the handler does, too')
    t.equal(parentOf('rpc save'), undefined)
    t.match(byName.get('commit')!.attributes, { 'datasole.key': 'k' })
    t.match(byName.get('rpc save')!.attributes, { 'rpc.method': 'save' })
    t.match(byName.get('rpc fails')!.status, { code: 2, message: 'on purpose' })

    const collected = await sdk.collect()
    t.match(collected.get('datasole.connections'), { unit: '{connection}', points: [{ value: 1 }] })
    t.match(collected.get('datasole.rpc_calls')!.points, [{ value: 2 }])
    t.match(collected.get('datasole.rpc_errors')!.points, [{ attributes: { reason: 'APPLICATION' }, value: 1 }])
    t.match(collected.get('datasole.backend_up')!.points, [{ attributes: { scope: 'root' }, value: 1 }])
    const { unit, points } = collected.get('datasole.rpc_duration')!
    t.equal(unit, 's')
    t.match(points.find(({ attributes }) => (attributes as { method: string }).method === 'save'), { value: { count: 1 } })

    exporter.detach()
    await wire.call('save')
    t.equal(sdk.spans().length, 5, 'no spans any more')
    t.match((await sdk.collect()).get('datasole.rpc_duration')!.points.find(({ attributes }) => (attributes as { method: string }).method === 'save'), { value: { count: 1 } })
    t.equal(Datasole.insideOf({ ds }).core.metrics.tracer, undefined)
  })
}

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'

t.test('OpenTelemetry: a call belongs to the trace of its client, also one of a thread', async (t) => {
  const sdk = startSdk(t)
  const [, start] = servedEntrances[1]!
  const { url } = await start(t, async (app) => {
    await app.register(executor, { model: 'thread-pool', poolSize: 1, workerScript: new URL('../scope-script.js', import.meta.url).href })
    await app.register(metrics, { openTelemetry: new OpenTelemetryExporter() })
    app.ds.rpc.register('echo', (params) => params)
  })
  const client = new DatasoleClient({ url, webSocket: WebSocket, useWorker: false })
  t.teardown(() => client.disconnect())
  await client.connect()
  const options = { traceparent: `00-${TRACE}-${SPAN}-01` }
  await client.rpc('echo', 1, options)
  await client.rpc('inThread', 1, options)
  for (const traceparent of ['', `ff-${TRACE}-${SPAN}-01`, `00-${'0'.repeat(32)}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01x`, 5 as never]) await client.rpc('echo', 1, { traceparent })
  const [first, second, ...others] = sdk.spans().filter(({ name }) => name.startsWith('rpc'))
  for (const [span, name] of [[first!, 'rpc echo'], [second!, 'rpc inThread']] as const) {
    t.equal(span.name, name)
    t.match(span.spanContext(), { traceId: TRACE })
    t.match(span.parentSpanContext, { spanId: SPAN, isRemote: true })
  }
  t.strictSame(others.map(({ parentSpanContext }) => parentSpanContext), [undefined, undefined, undefined, undefined, undefined], 'what is none is ignored')
})

t.test('OpenTelemetry: an event that server code emits takes its trace along to another node, through Redis', async (t) => {
  const sdk = startSdk(t)
  const { url } = await redisServer(t)
  const nodes = await cluster(t, 2, { prepare: (ds) => { ds.primitives.events.on('told', () => {}) } }, [new RedisBackend({ url }), new RedisBackend({ url })])
  for (const { ds } of nodes) await new OpenTelemetryExporter().attach(ds)
  trace.getTracer('app').startActiveSpan('work', (span) => {
    nodes[0]!.ds.primitives.events.emit('told', 1)
    span.end()
  })
  await until(() => sdk.spans().length === 3)
  const work = sdk.spans().find(({ name }) => name === 'work')!.spanContext()
  const told = sdk.spans().filter(({ name }) => name === 'event told')
  t.strictSame(told.map(({ parentSpanContext }) => [parentSpanContext?.traceId, parentSpanContext?.spanId]), [[work.traceId, work.spanId], [work.traceId, work.spanId]])
  t.strictSame(told.map(({ parentSpanContext }) => parentSpanContext?.isRemote === true), [false, true])
})

t.test('OpenTelemetry: a commit of several writes belongs to the first, and has a link to each other', async (t) => {
  const sdk = startSdk(t)
  const { default: Fastify } = await import('fastify')
  const { default: datasole } = await import('../../../index.js')
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await new OpenTelemetryExporter().attach(app.ds)
  await app.ready()
  const { live } = app.ds.primitives
  await live.setState('n', 0)
  const tracer = trace.getTracer('app')
  const write = (name: string): Promise<unknown> => tracer.startActiveSpan(name, async (span) => {
    await live.update('n', (n) => (n as number) + 1)
    span.end()
  })
  await Promise.all(['a', 'b', 'c'].map(write))
  const spans = sdk.spans()
  const idOf = (name: string): string => spans.find((span) => span.name === name)!.spanContext().spanId
  const commits = spans.filter(({ name, parentSpanContext }) => name === 'commit' && parentSpanContext !== undefined)
  t.strictSame(commits.map(({ parentSpanContext, links }) => [parentSpanContext!.spanId, ...links.map((link) => link.context.spanId)]).flat().sort(), ['a', 'b', 'c'].map(idOf).sort(), 'each of them once')
  t.ok(commits.length < 3, 'some went together')
})
