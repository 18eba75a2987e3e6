import cluster from 'node:cluster'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const program = fileURLToPath(new URL('../helpers/lone-server.js', import.meta.url))

/** What a process logs that opens two servers with these options. */
async function logsOf (kind: 'worker' | 'process', options: string, env: Record<string, string> = {}): Promise<string[]> {
  cluster.setupPrimary({ exec: program, args: [options] })
  const child = kind === 'worker' ? cluster.fork(env) : fork(program, [options], { env: { ...process.env, ...env } })
  const [logs] = await once(child, 'message') as [string[]]
  child.kill()
  await once(child, 'exit')
  return logs
}

t.test('split brain: a store in the memory of one of several processes is a warning, once', async (t) => {
  const warning = /one of several.*RedisBackend.*new MemoryBackend\(\)/
  for (const [kind, options, env] of [
    ['worker', 'default', {}],
    ['worker', 'memory', {}],
    ['process', 'default', { NODE_APP_INSTANCE: '1' }]
  ] as const) {
    const logs = await logsOf(kind, options, env)
    t.equal(logs.length, 1, `${kind}, ${options}`)
    t.match(logs[0], warning)
  }
})

t.test('split brain: and none where there is one process, or where it is meant', async (t) => {
  t.strictSame(await logsOf('process', 'default', { NODE_APP_INSTANCE: '0' }), [])
  t.strictSame(await logsOf('worker', 'instance'), [])
  t.strictSame(await logsOf('worker', 'redis'), [])
})
