import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { ConnectionContext } from '../../lib/server/context/connection-context.js'
import type { ExecutorOptions } from '../../lib/server/config/server-options.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { DatasoleServer } from '../../plugins/server.js'
import { type Running, capturedLogger, entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'

const [, start] = entrances[1]!
const workerScript = fileURLToPath(new URL('script.js', import.meta.url))
const pool = (more?: Partial<ExecutorOptions>): { executor: Partial<ExecutorOptions>, rateLimit: false } => ({ rateLimit: false, executor: { model: 'thread-pool', poolSize: 1, workerScript, execArgv: [], ...more } })

function counts ({ ds }: Running): NonNullable<ReturnType<Running['ds']['metrics']['snapshot']>['executor']> {
  return ds.metrics.snapshot().executor!
}

/** Until it is true: what it waits for is told by nobody. */

t.test('faults: a thread that cannot even be constructed fails the start, and leaves nothing', async (t) => {
  const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const ds = new DatasoleServer({ executor: { model: 'thread-pool', poolSize: 1, workerScript, execArgv: ['--no-such-option'] }, logger: capturedLogger([]) })
  await t.rejects(ds.init(), { code: 'ERR_WORKER_INVALID_EXEC_ARGV' })
  await ds.close()
  t.equal(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length, before)
})

t.test('faults: changes on both sides at once leave no copy old', async (t) => {
  let context!: ConnectionContext
  const server = await start(t, { ...pool(), prepare: (ds) => { ds.addHook('onConnect', (connection) => { context = connection }) } })
  const wire = await server.connect()
  await wire.call('w.echo')
  const tagging = wire.call('tag, then spin', 100)
  await wire.ping()
  context.tags.add('from-main')
  const meanwhile = wire.call('context')
  await tagging
  await meanwhile
  t.strictSame([...context.tags].sort(), ['from-main', 'tagged'])
  t.strictSame((await wire.call('context')).result.tags.sort(), ['from-main', 'tagged'])
})

t.test('faults: what cannot be read cannot cross, and is no reason to fall', async (t) => {
  const server = await start(t, {
    ...pool(),
    authHandler: () => ({ authenticated: true, userId: 'ada', metadata: { plan: 'pro', get lazy (): never { throw new Error('not loaded') } } })
  })
  const wire = await server.connect()
  t.match(await wire.call('metadata', 'plan'), { result: 'pro' })
  t.match(await wire.call('metadata', 'lazy'), { error: { code: -32603 } })
  t.match(server.logs.join(''), /auth\.metadata\.lazy cannot be sent between threads: not loaded/)
  t.equal((await wire.call('log', 'nothing')).result, null)
  t.match(await wire.call('session of', null), { error: { code: -32603 } })
  t.match(server.logs.join(''), /JSON cannot hold NaN, found at \\"\/n\/NaN/)
  t.equal(counts(server).queued, 0)
  await until(() => server.logs.some((line) => line.includes('nothing to say')))
})

t.test('faults: a call of server code that a hook holds back does not keep a connection that has gone', async (t) => {
  let letThrough = (): void => {}
  let context!: ConnectionContext
  const server = await start(t, {
    ...pool(),
    prepare: (ds) => {
      ds.addHook('onConnect', (connection) => { context = connection })
      ds.addHook('preRpc', async (_, { method }) => { if (method === 'w.echo') await new Promise<void>((resolve) => { letThrough = resolve }) })
    }
  })
  const wire = await server.connect()
  await wire.call('thread')
  const call = server.ds.rpc.call('w.echo', 1, { connection: context })
  await wire.close()
  await until(() => counts(server).assigned === 0)
  letThrough()
  t.equal(await call, 1)
  t.equal(counts(server).assigned, 0)
})

t.test('faults: payloads that wait or run have 64 MiB', async (t) => {
  const server = await start(t, { ...pool(), closeTimeoutMs: 0 })
  const payload = 'x'.repeat(20 * 1024 * 1024)
  const calls = Array.from({ length: 4 }, () => server.ds.rpc.call('hang', payload))
  await t.rejects(calls[3]!, { code: -32030 }, 'four times 20')
  t.equal(counts(server).queued, 3)
  const lost = Promise.allSettled(calls)
  await server.close()
  for (const { reason } of (await lost).slice(0, 3) as PromiseRejectedResult[]) t.match(reason, { code: -32004 })
  t.equal(counts(server).queued, 0)
})

t.test('faults: a thread in which an event is still being handled is not idle', async (t) => {
  const server = await start(t, pool({ idleTimeout: 30 }))
  const wire = await server.connect()
  wire.send(Opcode.EVENT_C2S, 1, { event: 'slow' })
  await wire.call('w.echo')
  await wire.close()
  await until(() => counts(server).threads === 0)
  t.equal(await server.ds.primitives.state.getState('slow'), 'done')
})

t.test('faults: the utilization of threads is the same for every reader, whoever has looked before', async (t) => {
  const server = await start(t, pool())
  const wire = await server.connect()
  await wire.call('w.echo')
  for (let i = 0; i < 40; i++) {
    const [first, second] = [counts(server).utilization, counts(server).utilization]
    if (!(first >= 0 && first <= 1 && second >= 0 && second <= 1)) t.fail(`${first}, ${second}`)
    if (Math.abs(first - second) > 0.05) t.fail(`${first}, and then ${second}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const before = counts(server).utilization
  await wire.call('spin', 500)
  const [first, second] = [counts(server).utilization, counts(server).utilization]
  t.ok(first > before && second > before, `${before}, after some work ${first} and ${second}`)
})
