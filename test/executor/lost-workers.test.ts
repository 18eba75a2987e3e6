import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { setTimeout } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import type { ExecutorOptions } from '../../lib/server/config/server-options.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import { entrances } from '../helpers/entrances.js'
import { until } from '../helpers/until.js'

const [, start] = entrances[1]!
const workerScript = fileURLToPath(new URL('script.js', import.meta.url))
const pool = (more?: Partial<ExecutorOptions>): { executor: Partial<ExecutorOptions>, rateLimit: false, closeTimeoutMs: number } => ({ rateLimit: false, closeTimeoutMs: 100, executor: { model: 'thread-pool', poolSize: 2, workerScript, execArgv: [], stuckTimeoutMs: 1000, ...more } })
const LOST = { error: { code: -32004, data: { code: 'WORKER_LOST' } } }

for (const [how, method] of [['exit', 'exit'], ['a throw outside of a call', 'throw outside'], ['memory', 'out of memory'], ['an endless loop', 'loop']] as const) {
  t.test(`a worker lost by ${how} takes its own calls along, and nobody else's`, async (t) => {
    const server = await start(t, pool(method === 'out of memory' ? { maxOldGenerationSizeMb: 32 } : {}))
    const [a, b] = [await server.connect(), await server.connect()]
    const threads = [(await a.call('thread')).result, (await b.call('thread')).result]
    t.not(threads[0], threads[1])
    const others = b.call('hang')
    others.catch(() => {}) // it ends with the connection
    const hanging = a.call('hang')
    const fatal = a.call(method)
    t.match(await hanging, LOST)
    t.match(await fatal, method === 'loop' ? { error: { code: -32001 } } : LOST)
    t.notMatch(JSON.stringify([await fatal, await hanging]), /stack|\.js/)
    const { result } = await a.call('thread')
    t.not(result, threads[0], 'its connection has another one')
    t.equal((await b.call('thread')).result, threads[1])
    t.equal((await b.call('echo', 1)).result, 1)
    t.equal(server.ds.metrics.snapshot().executor!.restarts, 1)
    t.equal(server.logs.filter((line) => line.includes('a worker thread was lost')).length, 1)
  })
}

t.test('lost workers: an endless loop in an event handler ends with its thread, too', async (t) => {
  const server = await start(t, { ...pool({ poolSize: 1 }), rpcTimeoutMs: 100 })
  const wire = await server.connect()
  wire.send(Opcode.EVENT_C2S, 1, { event: 'loop' })
  await until(() => server.ds.metrics.snapshot().executor!.restarts !== 0)
  // a thread may take longer to start than these calls may
  for (let isBack = false; !isBack;) isBack = (await wire.call('w.echo')).error === undefined
  t.equal(server.ds.metrics.snapshot().executor!.restarts, 1)
})

t.test('lost workers: much that is slow is not taken for an endless loop', async (t) => {
  const server = await start(t, { ...pool({ poolSize: 1, stuckTimeoutMs: 2500 }), rpcTimeoutMs: 50 })
  const wire = await server.connect()
  await wire.call('w.echo')
  for (let i = 0; i < 12; i++) wire.send(Opcode.EVENT_C2S, 0, { event: 'spin', data: 250 })
  await wire.ping()
  await until(() => server.ds.metrics.snapshot().executor!.queued <= 0)
  t.equal(server.ds.metrics.snapshot().executor!.restarts, 0)
})

t.test('lost workers: a process that stands still does not take its threads for stuck ones', async (t) => {
  const script = `
    import { DatasoleServer } from '${new URL('../../plugins/server.js', import.meta.url).href}'
    const ds = new DatasoleServer({ rpcTimeoutMs: 50, executor: { model: 'thread-pool', poolSize: 1, stuckTimeoutMs: 1000, workerScript: ${JSON.stringify(pathToFileURL(workerScript).href)} } })
    await ds.init()
    await ds.rpc.call('w.echo')
    setTimeout(() => { console.log('spinning') }, 100)
    await ds.rpc.call('spin', 2000)
    console.log(ds.metrics.snapshot().executor.restarts)
    await ds.close()
  `
  const program = spawn(process.execPath, [join(t.testdir({ 'program.mjs': script }), 'program.mjs')], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => program.kill('SIGKILL'))
  await once(program.stdout, 'data')
  program.kill('SIGSTOP')
  await setTimeout(1500)
  program.kill('SIGCONT')
  const [restarts] = await once(program.stdout, 'data')
  t.equal(String(restarts), '0\n')
})

t.test('a worker that is lost again and again comes back later each time', async (t) => {
  const server = await start(t, pool({ poolSize: 1 }))
  const wire = await server.connect()
  const began = performance.now()
  for (let i = 0; i < 4; i++) t.match(await wire.call('exit'), LOST)
  t.ok(performance.now() - began > 50 + 100 + 200, 'at least half of 100, 200 and 400 ms')
  t.equal((await wire.call('w.echo', 1)).result, 1)
  t.equal(server.ds.metrics.snapshot().executor!.restarts, 4)
})

t.test('lost workers: closing waits for what runs, up to its time, and then nothing keeps the process', async (t) => {
  const server = await start(t, { ...pool(), closeTimeoutMs: 5000 })
  const wire = await server.connect()
  await wire.call('w.echo')
  const slow = wire.call('spin', 150)
  await wire.ping()
  const closing = server.close()
  t.ok((await slow).result)
  await closing
  await t.rejects(server.ds.rpc.call('w.echo', 1), { code: -32030 })

  const script = `
    import { DatasoleServer } from '${new URL('../../plugins/server.js', import.meta.url).href}'
    const ds = new DatasoleServer({ closeTimeoutMs: 100, executor: { model: 'thread-pool', poolSize: 2, workerScript: ${JSON.stringify(pathToFileURL(workerScript).href)} } })
    await ds.init()
    console.log(await ds.rpc.call('w.echo', 'served'))
    ds.rpc.call('spin', 60000).catch(({ data }) => { console.log(data.code) })
    ds.rpc.call('hang').catch(({ data }) => { console.log(data.code) })
    await ds.close()
    console.log('closed')
  `
  const { stdout } = await promisify(execFile)(process.execPath, [join(t.testdir({ 'program.mjs': script }), 'program.mjs')], { timeout: 50_000 })
  t.equal(stdout, 'served\nWORKER_LOST\nWORKER_LOST\nclosed\n')
})
