import Fastify, { type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import datasole from '../../../index.js'
import { MemoryBackend } from '../../../plugins/server.js'
import { Datasole } from '../../../lib/server/datasole.js'
import metrics, { PrometheusExporter } from '../../../plugins/metrics.js'
import { BucketsRecorder } from '../../../lib/metrics/buckets-recorder.js'
import { Metrics } from '../../../lib/server/metrics/metrics.js'
import { reader } from './exposition.js'

/** In an object, since an instance that a promise resolves to is started. */
async function server (t: Test, options = {}): Promise<{ app: FastifyInstance }> {
  const app = Fastify()
  t.teardown(() => app.close())
  await app.register(datasole, options)
  return { app }
}

t.test('exporter: it exports a snapshot, a server, or the one server of the process', async (t) => {
  const exporter = new PrometheusExporter({ prefix: 'app' })
  await t.rejects(exporter.export(), { code: 'NOT_STARTED' })
  const { app } = await server(t)
  await app.ready()
  await app.ds.primitives.live.setState('k', 1)
  const snapshot = app.ds.metrics.snapshot()
  await app.ds.primitives.live.setState('k', 2)
  t.equal(reader(await exporter.export(snapshot), 'app_')('commits_total'), 1)
  t.equal(reader(await exporter.export(), 'app_')('commits_total'), 2)
  await app.ds.primitives.live.setState('k', 3)
  t.equal(reader(await exporter.export(), 'app_')('commit_duration_seconds_count', { store: 'state' }), 1, 'it measures from then on')
  const { app: other } = await server(t)
  await other.ready()
  await t.rejects(new PrometheusExporter().export(), { code: 'NOT_STARTED', message: /2 servers/ })
  t.equal(reader(await (await new PrometheusExporter({ prefix: '' }).attach(other.ds)).export(), '')('commits_total'), 0)
  await t.rejects(exporter.attach(other.ds), { code: 'DUPLICATE_REGISTRATION' })
})

t.test('exporter: nothing is measured where nobody exports', async (t) => {
  const { app } = await server(t)
  const { core: { metrics } } = Datasole.insideOf(app)
  t.equal(metrics.begin(), 0)
  const first = await new PrometheusExporter().attach(app.ds)
  const second = await new PrometheusExporter().attach(app.ds)
  t.ok(metrics.begin() > 0)
  await app.ds.primitives.live.setState('k', 1)
  for (const exporter of [first, second]) t.equal(reader(await exporter.export())('commit_duration_seconds_count', { store: 'state' }), 1)
  first.detach()
  first.detach()
  t.ok(metrics.begin() > 0)
  second.detach()
  t.equal(metrics.begin(), 0)
})

t.test('exporter: a duration is in the bucket whose bound it does not exceed', async (t) => {
  const recorder = new BucketsRecorder()
  for (const ms of [0, 0.1, 0.11, 1, 10_000, 10_001]) recorder.observe('rpc', 'm', ms)
  const { counts, sumMs } = recorder.series('rpc').get('m')!
  t.strictSame([...counts], [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
  t.equal(sumMs, 20_002.21)
})

t.test('exporter: refusals have reasons, and not without end', async (t) => {
  const counted = new Metrics(() => 0, () => [])
  t.notOk('refusals' in counted.snapshot())
  for (let i = 0; i < 300; i++) counted.refused('close', `reason ${i}`)
  const { close } = counted.snapshot().refusals!
  t.equal(Object.keys(close!).length, 101)
  t.equal(close!.other, 200)
})

t.test('exporter: mistakes are told', async (t) => {
  t.throws(() => new PrometheusExporter({ prefix: 'my-app' }), { code: 'INVALID_OPTION' })
  t.throws(() => new PrometheusExporter({ prefix: 5 as never }), { code: 'INVALID_OPTION' })
  for (const options of [{ prefix: 'ops' }, { prefix: '/ops/' }, { prefix: '/:id' }, { healthTimeoutMs: 0 }, { exporter: {} as never }]) {
    const { app } = await server(t)
    await t.rejects(async () => { await app.register(metrics, options) }, { code: 'INVALID_OPTION' }, JSON.stringify(options))
  }
  const { app } = await server(t)
  await app.register(metrics)
  await t.rejects(async () => { await app.register(metrics, { prefix: '/again' }) }, { code: 'DUPLICATE_REGISTRATION' })
})

t.test('health: a backend that never answers is asked once, and does not keep anyone waiting', async (t) => {
  let asked = 0
  class Stuck extends MemoryBackend {
    override get<T> (): Promise<T | undefined> {
      asked++
      return new Promise(() => {})
    }
  }
  const { app } = await server(t, { stateBackend: new Stuck() })
  await app.register(metrics, { healthTimeoutMs: 20 })
  await app.listen({ port: 0 })
  for (let i = 0; i < 3; i++) t.equal((await app.inject('/health')).statusCode, 503)
  t.equal(asked, 1)
})

t.test('health: a backend that answers, but carries no messages, is not ready', async (t) => {
  class Deaf extends MemoryBackend {
    override async publish (): Promise<void> {}
  }
  const { app } = await server(t, { stateBackend: new Deaf() })
  await app.register(metrics, { healthTimeoutMs: 20 })
  await app.listen({ port: 0 })
  t.match((await app.inject('/health')).json(), { status: 'unavailable', backends: [{ scope: 'root', ready: false }] })
})

t.test('health: scopes of one name are told apart, and a shared backend is one', async (t) => {
  const { default: memory } = await import('../../../plugins/memory.js')
  const { default: backend } = await import('../../../plugins/backend.js')
  const { app } = await server(t)
  const shared = new MemoryBackend()
  for (let i = 0; i < 2; i++) {
    await app.register(async function room (scope) {
      await scope.register(memory)
      scope.ds.primitives.live.register(`room ${i}`)
    })
    await app.register(async function hall (scope) { await scope.register(backend, { stateBackend: shared }) })
  }
  await app.register(metrics)
  await app.ready()
  t.strictSame((await app.ds.metrics.backends()).map(({ scope, ready }) => [scope, ready]).sort(), [['hall', true], ['room#2', true], ['room', true], ['root', true]])
})
