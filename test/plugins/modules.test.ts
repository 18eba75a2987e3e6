import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t from 'tap'

/** Drivers and libraries that only those need who use them. */
const OPTIONAL = ['ioredis', 'pg', 'piscina', 'prom-client', '@opentelemetry/api', 'yjs', 'zod', 'valibot', 'arktype']

/** The optional packages that a process loads which uses a server. */
async function optionalModules (...args: string[]): Promise<string[]> {
  const child = fork(fileURLToPath(new URL('use-server.js', import.meta.url)), args, { execArgv: ['--import', new URL('../helpers/watch-modules.js', import.meta.url).href] })
  const [loaded] = await once(child, 'message') as [string[]]
  return OPTIONAL.filter((name) => loaded.some((module) => module.includes(`/node_modules/${name}/`)))
}

for (const entrance of ['fastify', 'standalone']) {
  t.test(`${entrance}: a server in memory loads no optional package`, async (t) => {
    t.strictSame(await optionalModules(entrance), [])
  })
}

t.test('modules: a server with metrics loads prom-client, and no other optional package', async (t) => {
  t.strictSame(await optionalModules('standalone', 'metrics'), ['prom-client', '@opentelemetry/api'], 'the api is what prom-client requires itself')
})

t.test('modules: a server with Redis loads its driver, and no other optional package', async (t) => {
  t.strictSame(await optionalModules('fastify', process.env.REDIS_URL!), ['ioredis'])
})
