import Fastify from 'fastify'
import prom from 'prom-client'
import t from 'tap'
import datasole from '../../../index.js'
import { Opcode } from '../../../lib/protocol/opcodes.js'
import metrics, { PrometheusExporter } from '../../../plugins/metrics.js'
import { METRICS, HISTOGRAMS, BACKEND_METRICS } from '../../../lib/metrics/catalog.js'
import { until } from '../../helpers/until.js'
import { parseExposition, reader } from './exposition.js'
import { servedEntrances } from './servers.js'

const { EVENT_C2S, EVENT_S2C, STATE_PATCH, STATE_SNAPSHOT, SUBSCRIBE } = Opcode

for (const [entrance, start] of servedEntrances) {
  t.test(`${entrance}: a scrape tells what a client did`, async (t) => {
    const { connect, get } = await start(t, async (app) => {
      await app.register(metrics, { prefix: '/ops' })
      app.ds.rpc.register('echo', (params) => params)
      app.ds.rpc.register('slow', async () => { await new Promise((resolve) => { setTimeout(resolve, 30) }) })
      app.ds.rpc.register('limited', () => 1)
      app.ds.rpc.register('fails', () => { throw Object.assign(new Error('no'), { code: 12 }) })
      app.ds.rpc.register('tell', async () => {
        app.ds.primitives.fanout.broadcast('news', 1)
        await app.ds.primitives.live.setState('k', { n: Math.random(), pad: 'x'.repeat(300) })
      })
      app.ds.primitives.events.on('chat', () => {})
    }, { rateLimit: { rules: { limited: { windowMs: 3_600_000, maxRequests: 1 } } } })
    const wire = await connect()
    await wire.call('echo', 1)
    await wire.call('slow')
    await wire.call('fails')
    await wire.call('nope')
    await wire.call('limited')
    await wire.call('limited')
    wire.send(EVENT_C2S, 0, { event: 'chat', data: 1 })
    wire.send(EVENT_C2S, 0, { event: 'unknown', data: 1 })
    await wire.call('tell')
    wire.send(SUBSCRIBE, 50, { key: 'k' })
    await wire.nextOf(STATE_SNAPSHOT)
    await wire.call('tell')
    await wire.nextOf(STATE_PATCH)
    await wire.nextOf(EVENT_S2C)
    wire.sendRaw(Buffer.from('garbage'))
    await wire.nextOf(Opcode.ERROR)

    const response = await get('/ops/metrics')
    t.equal(response.status, 200)
    t.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8')
    const text = await response.text()
    const value = reader(text)
    t.strictSame(['connections', 'subscriptions', 'rpc_calls_total', 'commits_total', 'bad_frames_total', 'state_patches_total'].map((name) => value(name)), [1, 1, 8, 2, 1, 1])
    t.strictSame(Object.fromEntries(['METHOD_NOT_FOUND', 'RATE_LIMITED', 'APPLICATION', 'BUSY'].map((reason) => [reason, value('rpc_errors_total', { reason })])), { METHOD_NOT_FOUND: 1, RATE_LIMITED: 1, APPLICATION: 1, BUSY: undefined })
    t.equal(value('error_frames_total', { reason: 'BAD_FRAME' }), 1)
    t.equal(value('events_dropped_total', { reason: 'UNHANDLED' }), 1)
    t.strictSame(['echo', 'slow', 'fails', 'limited', 'tell', 'nope'].map((method) => value('rpc_duration_seconds_count', { method })), [1, 1, 1, 1, 2, undefined])
    t.equal(value('rpc_duration_seconds_bucket', { method: 'slow', le: '0.025' }), 0, 'it took 30 ms')
    t.equal(value('rpc_duration_seconds_bucket', { method: 'slow', le: '+Inf' }), 1)
    t.ok(value('rpc_duration_seconds_sum', { method: 'slow' })! > 0.025)
    t.equal(value('event_duration_seconds_count', { event: 'chat' }), 1)
    t.equal(value('event_duration_seconds_count', { event: 'unknown' }), undefined)
    t.equal(value('commit_duration_seconds_count', { store: 'state' }), 2)
    t.equal(value('queue_wait_seconds_count', { queue: 'commit' }), 2)
    t.equal(value('fanout_duration_seconds_count', { kind: 'event' }), 2)
    t.equal(value('fanout_duration_seconds_count', { kind: 'state' }), 1, 'the first commit had no subscriber')
    t.equal(value('backend_up', { scope: 'root' }), 1)
    t.ok(value('backend_lag_seconds', { scope: 'root' })! > 0)
    t.equal(value('worker_threads'), undefined, 'there are none')
    t.strictSame([...parseExposition(text).keys()].sort(), [...METRICS, ...BACKEND_METRICS, ...HISTOGRAMS].map(({ name }) => `datasole_${name}`).sort())

    wire.socket.terminate()
    await until(async () => reader(await (await get('/ops/metrics')).text())('connections') === 0)
    t.equal((await get('/metrics')).status, 404)
  })

  t.test(`${entrance}: names that clients invent make no label`, async (t) => {
    const { connect, get } = await start(t, async (app) => {
      await app.register(metrics)
      for (let i = 0; i < 1500; i++) app.ds.rpc.register(`m${i}`, () => i)
    }, { rateLimit: false })
    const wire = await connect()
    for (let i = 0; i < 2000; i++) wire.send(EVENT_C2S, 0, { event: `e${i}` })
    await Promise.all(Array.from({ length: 20 }, (_, i) => wire.call(`invented${i}`)))
    for (let i = 0; i < 1500; i += 50) await Promise.all(Array.from({ length: 50 }, (_, j) => wire.call(`m${i + j}`)))
    const text = await (await get('/metrics')).text()
    t.notMatch(text, /invented|e1999/)
    const methods = parseExposition(text).get('datasole_rpc_duration_seconds')!.samples.filter(({ name }) => name.endsWith('_count'))
    t.equal(methods.length, 1001, '1,000 methods, and the others as one')
    t.equal(methods.find(({ labels }) => labels.method === 'other')!.value, 500)
    t.equal(methods.reduce((sum, { value }) => sum + value, 0), 1500)
  })
}

t.test('scrape: a hook of the scope guards the routes', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(async (ops) => {
    ops.addHook('onRequest', async (request, reply) => { if (request.headers.authorization !== 'Bearer ops') return await reply.code(401).send() })
    await ops.register(metrics)
  }, { prefix: '/internal' })
  for (const path of ['/internal/metrics', '/internal/health']) {
    t.equal((await app.inject(path)).statusCode, 401, path)
    t.equal((await app.inject({ url: path, headers: { authorization: 'Bearer ops' } })).statusCode, 200, path)
    t.equal((await app.inject({ url: path, method: 'HEAD', headers: { authorization: 'Bearer ops' } })).statusCode, 200, path)
  }
})

t.test('scrape: an exporter of the application has its prefix and its registry', async (t) => {
  const registry = new prom.Registry()
  const orders = new prom.Counter({ name: 'orders_total', help: 'orders', registers: [registry] })
  orders.inc(3)
  const app = Fastify()
  await app.register(datasole)
  await app.register(metrics, { exporter: new PrometheusExporter({ prefix: 'shop', registry }) })
  await app.ready()
  for (const text of [(await app.inject('/metrics')).body, await registry.metrics()]) {
    t.equal(reader(text, '')('orders_total'), 3)
    t.equal(reader(text, 'shop_')('connections'), 0)
  }
  const json = await registry.getMetricsAsJSON()
  t.ok(json.some(({ name }) => name === 'shop_rpc_duration_seconds'), 'for a cluster that adds up')
  await app.close()
  t.strictSame([...parseExposition(await registry.metrics()).keys()], ['orders_total'], 'a server that closed has left')
})

t.test('scrape: the metrics of a Prometheus registry of OpenMetrics are valid', async (t) => {
  const registry = new prom.Registry()
  registry.setContentType(prom.Registry.OPENMETRICS_CONTENT_TYPE as never)
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(metrics, { exporter: new PrometheusExporter({ registry }) })
  const { headers, body } = await app.inject('/metrics')
  t.match(headers['content-type'], /openmetrics-text/)
  t.match(body, /\ndatasole_rpc_calls_total 0\n/)
  t.match(body, /# EOF\n$/)
})

t.test('scrape: threads have their metrics', async (t) => {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, { executor: { model: 'thread-pool', poolSize: 1, workerScript: new URL('../scope-script.js', import.meta.url).href } })
  await app.register(metrics)
  const value = reader((await app.inject('/metrics')).body)
  t.equal(value('worker_threads'), 1)
  t.equal(value('worker_restarts_total'), 0)
})
