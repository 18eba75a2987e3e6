import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import t from 'tap'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { type Fault, networkFaults, survive } from '../helpers/chaos.js'
import { seed } from '../helpers/random.js'
import { redisServer } from '../helpers/redis-server.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const server = await redisServer(t, { isDurable: true })
const { port, process: redis } = server

async function ask (...command: [string, ...string[]]): Promise<void> {
  const client = new Redis(port)
  await client.call(...command)
  client.disconnect()
}

const faults: Fault[] = [
  {
    name: 'Redis is killed and comes back with its data',
    strike: () => redis.kill(),
    heal: () => server.restart({ keepsData: true })
  },
  {
    name: 'Redis is killed and comes back without its data',
    losesData: true,
    strike: () => redis.kill(),
    heal: () => server.restart({ keepsData: false })
  },
  {
    name: 'Redis stands still',
    strike: () => redis.pause(),
    heal: () => redis.resume()
  },
  {
    name: 'subscribers are disconnected, again and again',
    times: 10,
    strike: async () => {
      for (let i = 0; i < 10; i++) {
        await ask('client', 'kill', 'type', 'pubsub')
        await setTimeout(50)
      }
    }
  },
  {
    name: 'everyone is disconnected',
    strike: () => ask('client', 'kill', 'type', 'normal')
  },
  ...networkFaults
]

for (const [i, fault] of faults.entries()) {
  const nodes = 2 + (i + seed) % 2
  // calls that wait for the store, and calls that are given up
  const commandTimeoutMs = (i + seed) % 3 === 0 ? 200 : 10_000
  t.test(`${fault.name} (${nodes} nodes, calls wait up to ${commandTimeoutMs} ms)`, { timeout: 120_000 }, async (t) => {
    const backend = (port: number, commandTimeoutMs: number): RedisBackend => new RedisBackend({ url: `redis://127.0.0.1:${port}`, keyPrefix: `${i}:`, commandTimeoutMs })
    await survive(t, { seed: seed + i, port, nodes, fault, commandTimeoutMs, backend })
  })
}
