import t from 'tap'
import metrics from '../../../plugins/metrics.js'
import memory from '../../../plugins/memory.js'
import redis from '../../../plugins/redis.js'
import { redisServer } from '../../helpers/redis-server.js'
import { until } from '../../helpers/until.js'
import { reader } from './exposition.js'
import { servedEntrances } from './servers.js'

interface Health { status: string, backends: Array<{ scope: string, ready: boolean, lagMs?: number }> }

for (const [entrance, start] of servedEntrances) {
  t.test(`${entrance}: health follows a Redis that goes away and comes back`, { timeout: 120_000 }, async (t) => {
    const server = await redisServer(t)
    const { get } = await start(t, async (app) => {
      await app.register(redis, { url: server.url })
      await app.register(async function game (scope) {
        await scope.register(memory)
        scope.ds.primitives.live.register('arena')
      })
      await app.register(metrics, { healthTimeoutMs: 3000 })
    })
    const health = async (): Promise<Health> => await (await get('/health')).json() as Health
    const scrape = async (): Promise<ReturnType<typeof reader>> => reader(await (await get('/metrics')).text())

    t.equal((await get('/health')).status, 200)
    const first = await health()
    t.match(first, { status: 'ready', backends: [{ scope: 'root', ready: true }, { scope: 'game', ready: true }] })
    t.ok(first.backends.every(({ lagMs }) => lagMs! > 0))
    t.equal((await scrape())('backend_up', { scope: 'root' }), 1)

    for (const [fault, strike, heal] of [
      ['is killed', () => server.process.kill(), () => server.restart({ keepsData: false })],
      ['stands still', () => server.process.pause(), () => server.process.resume()]
    ] as const) {
      await strike()
      const response = await get('/health')
      t.equal(response.status, 503, fault)
      t.match(await response.json(), { status: 'unavailable', backends: [{ scope: 'root', ready: false }, { scope: 'game', ready: true }] }, fault)
      const began = performance.now()
      const away = await scrape()
      t.ok(performance.now() - began < 10_000, 'a scrape does not wait for it')
      t.equal(away('backend_up', { scope: 'root' }), 0, fault)
      t.equal(away('backend_lag_seconds', { scope: 'root' }), undefined, fault)
      t.equal(away('backend_up', { scope: 'game' }), 1, fault)
      await heal()
      await until(async () => (await get('/health')).status === 200)
      await until(async () => (await scrape())('backend_up', { scope: 'root' }) === 1)
    }
  })
}
