import { fileURLToPath } from 'node:url'
import t from 'tap'
import { type DatasoleError, type ErrorContext, type ExecutorOptions, MemoryBackend, RpcError } from '../../plugins/server.js'
import { cluster } from '../helpers/nodes.js'
import { until } from '../helpers/until.js'

const workerScript = fileURLToPath(new URL('thrown-script.js', import.meta.url))
const executor: Partial<ExecutorOptions> = { model: 'thread-pool', poolSize: 1, workerScript, execArgv: [] }

/** Its store fails with errors that say nothing by their shape. */
class FailingBackend extends MemoryBackend {
  override async commit (): Promise<never> { throw new (class ReplyError extends Error {})('secret') }
}

const shown: Record<string, object> = {
  plain: { code: -32000, message: 'plain' },
  coded: { code: 4711, message: 'coded', data: { why: 1 } },
  rpc: { code: 5, message: 'rpc', data: [1] },
  exposed: { code: -32000, message: 'exposed' },
  status: { code: -32000, message: 'status' }
}
const hidden: Record<string, object> = {
  bug: { type: 'TypeError', message: 'secret', stack: /thrown-script/ },
  class: { type: 'QueryError', message: /secret/, stack: /the cause/ },
  system: { code: 'ENOENT', message: /secret/ },
  datasole: { type: 'DatasoleError', code: 'SECRET' },
  abort: { message: 'secret' },
  string: { message: 'secret' },
  'of the main thread': { message: /secret/ }
}

t.test('what is thrown in a thread is judged as on the main thread', async (t) => {
  const [node] = await cluster(t, 1, { executor, rateLimit: false }, [new FailingBackend()])
  const { ds, connect, logs } = node!
  const wire = await connect()
  for (const method of ['t.throws', 't.rejects']) {
    for (const [name, error] of Object.entries(shown)) {
      t.strictSame((await wire.call(method, name)).error, error, name)
      await t.rejects(ds.rpc.call(method, name), error as { code: number })
    }
    for (const [name, err] of Object.entries(hidden)) {
      const { error } = await wire.call(method, name)
      t.strictSame(error, { code: -32603, message: 'internal error', data: { code: 'INTERNAL', id: error.data.id } }, name)
      t.match(logs.map((line) => JSON.parse(line)).find(({ id }) => id === error.data.id), { level: 50, method, connectionId: String, err }, name)
      await t.rejects(ds.rpc.call(method, name), { name: 'RpcError', code: -32603, message: 'internal error', cause: { message: /secret/ } })
    }
  }
  t.equal(ds.metrics.snapshot().rpcErrors, 2 * (Object.keys(shown).length + Object.keys(hidden).length))
  logs.length = 0
  t.match((await wire.call('t.late')).error, { code: -32001 })
  await until(() => logs.some((line) => line.includes('after its time')))
  t.equal(ds.metrics.snapshot().executor!.queued, 0)
})

t.test('thrown: errorHandler runs on the main thread, with errors that it can tell apart', async (t) => {
  const seen: Array<[Error, ErrorContext]> = []
  const [node] = await cluster(t, 1, {
    executor,
    rateLimit: false,
    errorHandler: (error, ctx) => {
      seen.push([error as Error, ctx])
      return (error as DatasoleError).code === 'SECRET' ? new RpcError(1, 'decided') : undefined
    }
  })
  const wire = await node!.connect()
  t.strictSame((await wire.call('t.throws', 'datasole')).error, { code: 1, message: 'decided' })
  t.match(seen[0], [{ name: 'DatasoleError' }, { source: 'rpc', method: 't.throws', connection: { connectionId: String } }])
  await wire.call('t.throws', 'bug')
  t.ok(seen[1]![0] instanceof TypeError)
  await wire.call('t.throws', 'class')
  t.match([seen[2]![0].constructor.name, (seen[2]![0].cause as Error).message], ['QueryError', 'the cause'])
})
