import Fastify, { type FastifyInstance } from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import backend from '../../plugins/backend.js'
import executor from '../../plugins/executor.js'
import memory from '../../plugins/memory.js'
import postgres from '../../plugins/postgres.js'
import rateLimit from '../../plugins/rate-limit.js'
import redis from '../../plugins/redis.js'
import { DatasoleServer, MemoryBackend } from '../../plugins/server.js'
import sessions from '../../plugins/sessions.js'

type Plugin = (app: FastifyInstance, options: never) => Promise<void>

/** Every plugin of a scope, with options that let it load. A second backend is refused before it connects. */
const PLUGINS: Array<[name: string, kind: string, plugin: Plugin, options: object]> = [
  ['memory', 'backend', memory as Plugin, {}],
  ['redis', 'backend', redis as Plugin, { url: 'redis://127.0.0.1:1' }],
  ['postgres', 'backend', postgres as Plugin, { connectionString: 'postgres://127.0.0.1:1' }],
  ['backend', 'backend', backend as Plugin, { stateBackend: new MemoryBackend() }],
  ['rate-limit', 'rate limit', rateLimit as Plugin, { defaultRule: { windowMs: 1000, maxRequests: 1 } }],
  ['sessions', 'session option', sessions as Plugin, {}],
  ['executor', 'executor', executor as Plugin, { model: 'async' }]
]

const FIRST: Record<string, [Plugin, object]> = {
  backend: [memory as Plugin, {}],
  'rate limit': [rateLimit as Plugin, { defaultRule: { windowMs: 1000, maxRequests: 1 } }],
  'session option': [sessions as Plugin, {}],
  executor: [executor as Plugin, { model: 'async' }]
}

for (const [name, kind, plugin, options] of PLUGINS) {
  t.test(`datasole/${name}: before the root plugin it is refused, and named`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await t.rejects(async () => { await app.register(plugin, options as never).ready() }, new RegExp(`datasole/${name}`))
  })

  t.test(`datasole/${name}: a second ${kind} in one scope is refused, naming both and the scope`, async (t) => {
    const says = { code: 'DUPLICATE_REGISTRATION', message: new RegExp(`datasole/${name}: the scope "game" already has a ${kind}, from datasole/`) }
    const game = Object.assign(async (scope: FastifyInstance) => {
      const [first, given] = FIRST[kind]!
      await scope.register(first, given as never)
      await scope.register(plugin, options as never)
    }, { [Symbol.for('fastify.display-name')]: 'game' })
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(datasole)
    await t.rejects(async () => { await app.register(game) }, says)

    const ds = new DatasoleServer()
    t.teardown(() => ds.close())
    await t.rejects(ds.register(game).init(), says)
  })

  t.test(`datasole/${name}: after the start it is refused`, async (t) => {
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(datasole)
    await app.ready()
    await t.rejects(async () => { await app.register(plugin, options as never) })

    const ds = new DatasoleServer()
    t.teardown(() => ds.close())
    await ds.init()
    t.throws(() => ds.register(plugin, options as never), { code: 'TOO_LATE' })
  })

  if (kind !== 'backend') continue
  t.test(`datasole/${name}: a backend that comes after the first write of its scope is refused, naming the call`, async (t) => {
    const says = { code: 'TOO_LATE', message: new RegExp(`datasole/${name} is registered too late in the scope "game": state.setState`) }
    const game = Object.assign(async (scope: FastifyInstance) => {
      await scope.ds.primitives.state.setState('k', 1)
      await scope.register(plugin, options as never)
    }, { [Symbol.for('fastify.display-name')]: 'game' })
    const app = Fastify()
    t.teardown(() => app.close())
    await app.register(datasole)
    await t.rejects(async () => { await app.register(game) }, says)
  })
}
