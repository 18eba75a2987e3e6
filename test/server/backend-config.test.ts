import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import t from 'tap'
import datasole from '../../index.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { BackendConfig } from '../../lib/server/config/server-options.js'
import { until } from '../helpers/until.js'
import { entrances } from '../helpers/entrances.js'
import { freePort } from '../helpers/server-process.js'

const { EVENT_S2C, STATE_SNAPSHOT, SUBSCRIBE } = Opcode

const configs: Array<() => BackendConfig> = [
  () => ({ type: 'redis', redis: { url: process.env.REDIS_URL, prefix: `${randomUUID()}:` } }),
  () => ({ type: 'postgres', postgres: { connectionString: process.env.POSTGRES_URL, prefix: `${randomUUID()}:`, tableName: 'backend_config' } })
]

for (const [entrance, start] of entrances) {
  for (const make of configs) {
    const backendConfig = make()
    t.test(`${entrance}, ${backendConfig.type}`, async (t) => {
      const options = {
        backendConfig,
        prepare: async (ds: { primitives: { live: { setState (key: string, value: unknown): Promise<unknown> } } }) => {
          // under Fastify, register has connected it
          if (entrance === 'fastify') await ds.primitives.live.setState('k', 'early')
          else await t.rejects(ds.primitives.live.setState('k', 'too early'), { code: 'NOT_STARTED', message: /init\(\)/ })
        }
      }
      const [a, b] = [await start(t, options), await start(t, options)]
      await a.ds.primitives.live.setState('k', 1)
      const wire = await b.connect()
      // the node may hear of the commit a little later
      await until(async () => {
        const { opcode, payload } = await wire.ask(SUBSCRIBE, { key: 'k' })
        return opcode === STATE_SNAPSHOT && payload.data === 1
      })
      a.ds.primitives.fanout.broadcast('news', 'of a')
      t.match(await wire.nextOf(EVENT_S2C), { payload: { event: 'news', data: 'of a' } })
      await a.close()
      await b.ds.primitives.live.update('k', () => 2)
      t.equal(await b.ds.primitives.live.getState('k'), 2)
    })
  }
}

t.test('an application does not become ready without its backend, and closes all the same', async (t) => {
  const port = await freePort()
  const unreachable: BackendConfig[] = [
    { type: 'redis', redis: { url: `redis://127.0.0.1:${port}` } },
    { type: 'postgres', postgres: { connectionString: `postgres://postgres@127.0.0.1:${port}/none` } }
  ]
  for (const backendConfig of unreachable) {
    const app = Fastify()
    const refusal = { code: 'BACKEND_UNAVAILABLE', message: /ECONNREFUSED/ }
    await t.rejects(async () => { await app.register(datasole, { backendConfig }) }, refusal)
    await app.close()
  }
})
