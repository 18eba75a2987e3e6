import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { ExecutorOptions } from '../../lib/server/config/server-options.js'
import { type Running, entrances } from '../helpers/entrances.js'
import type { Wire } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const workerScript = fileURLToPath(new URL('script.js', import.meta.url))

function counts ({ ds }: Running): NonNullable<ReturnType<Running['ds']['metrics']['snapshot']>['executor']> {
  return ds.metrics.snapshot().executor!
}

/** Until it is true: what it waits for is told by nobody. */

const [, start] = entrances[1]!

t.test('model thread: one connection per thread, the others wait', async (t) => {
  const executor: Partial<ExecutorOptions> = { model: 'thread', maxThreads: 2, workerScript, execArgv: [], queueTimeoutMs: 1500, idleTimeout: 60_000 }
  const server = await start(t, { executor, rateLimit: false })
  const [a, b, c] = await Promise.all([server.connect(), server.connect(), server.connect()]) as [Wire, Wire, Wire]
  const threads = [(await a.call('thread')).result, (await b.call('thread')).result]
  t.not(threads[0], threads[1])
  const refused = await Promise.all([c.call('thread'), c.call('thread')])
  for (const answer of refused) t.match(answer, { error: { code: -32030, data: { code: 'BUSY' } } })
  const waiting = [c.call('thread'), c.call('count'), c.call('count')]
  await c.ping()
  await a.close()
  t.strictSame((await Promise.all(waiting)).map(({ result }) => result), [threads[0], 1, 2], 'it gets the thread that has become free, in order')
  await c.close()
  await b.close()
  await until(() => counts(server).assigned === 0)
})

t.test('model thread: a quiet connection gives its thread back, and an idle thread ends', async (t) => {
  const server = await start(t, { executor: { model: 'thread', maxThreads: 1, workerScript, execArgv: [], idleTimeout: 100 }, rateLimit: false })
  const [a, b] = await Promise.all([server.connect(), server.connect()]) as [Wire, Wire]
  t.ok((await a.call('thread')).result)
  t.ok((await b.call('thread')).result, 'after 100 ms')
  const running = a.call('w.later', 1)
  t.equal((await running).result, 1)
  await until(() => counts(server).threads === 0)
  t.equal((await a.call('w.echo', 'again')).result, 'again')
  t.equal(counts(server).restarts, 0)
})

t.test('assignment: a pool keeps the thread of a connection, however quiet it is', async (t) => {
  const server = await start(t, { executor: { model: 'thread-pool', poolSize: 2, workerScript, execArgv: [], idleTimeout: 30 }, rateLimit: false })
  const wire = await server.connect()
  t.equal((await wire.call('count')).result, 1)
  await new Promise((resolve) => setTimeout(resolve, 150))
  t.equal((await wire.call('count')).result, 2)
  await wire.close()
  await until(() => counts(server).threads === 0)
})

t.test('assignment: without a script everything runs here, and it is said once', async (t) => {
  const server = await start(t, { executor: { model: 'thread-pool' } })
  t.equal((await (await server.connect()).call('echo', 1)).result, 1)
  t.equal(server.logs.filter((line) => line.includes('no workerScript')).length, 1)
  t.equal(server.ds.metrics.snapshot().executor, undefined)
})
