import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { redisServer } from './redis-server.js'
import { ServerProcess } from './server-process.js'
import { until } from './until.js'

interface Test { teardown (fn: () => unknown): void }

export interface SentinelOptions {
  replicas?: number
  /** `min-replicas-to-write` of every Redis. Default 0. */
  minReplicas?: number
}

export const MASTER_NAME = 'ours'

/** A master, its replicas and three Sentinels that watch over them. */
export class RedisSentinel {
  readonly sentinels: Array<{ host: string, port: number }>
  readonly #admin: Redis

  constructor (ports: number[]) {
    this.sentinels = ports.map((port) => ({ host: '127.0.0.1', port }))
    this.#admin = new Redis(ports[0]!)
  }

  async masterPort (): Promise<number> {
    const [, port] = await this.#admin.call('sentinel', 'GET-MASTER-ADDR-BY-NAME', MASTER_NAME) as [string, string]
    return Number(port)
  }

  /** Resolves once each Sentinel knows all others and `count` replicas. */
  async settled (count: number): Promise<void> {
    for (const deadline = Date.now() + 60_000; ; await setTimeout(100)) {
      const replicas = (await this.#admin.call('sentinel', 'REPLICAS', MASTER_NAME) as string[][]).filter((fields) => fields[fields.indexOf('flags') + 1] === 'slave' && fields[fields.indexOf('master-link-status') + 1] === 'ok')
      const others = await this.#admin.call('sentinel', 'SENTINELS', MASTER_NAME) as unknown[]
      if (replicas.length === count && others.length === this.sentinels.length - 1) return
      if (Date.now() > deadline) throw new Error('the Sentinels did not find each other')
    }
  }

  /** Planned. Resolves once the Sentinels name another master. */
  async failover (): Promise<void> {
    const before = await this.masterPort()
    await this.#admin.call('sentinel', 'FAILOVER', MASTER_NAME)
    await until(async () => await this.masterPort() !== before)
  }

  close (): void {
    this.#admin.disconnect()
  }
}

/** They end with the test. */
export async function redisSentinel (t: Test, { replicas = 1, minReplicas = 0 }: SentinelOptions = {}): Promise<RedisSentinel> {
  const args = ['--min-replicas-to-write', String(minReplicas), '--min-replicas-max-lag', '10', '--repl-diskless-sync-delay', '0']
  const master = await redisServer(t, { args })
  for (let i = 0; i < replicas; i++) await redisServer(t, { args: [...args, '--replicaof', `127.0.0.1 ${master.port}`] })
  const folder = await mkdtemp(join(tmpdir(), 'datasole-sentinel-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const ports = []
  for (let i = 0; i < 3; i++) {
    const file = join(folder, `${i}.conf`)
    await writeFile(file, `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master.port} 2\nsentinel down-after-milliseconds ${MASTER_NAME} 5000\n`)
    const sentinel = new ServerProcess('Sentinel', (port) => ({ program: process.env.REDIS_SERVER ?? 'redis-server', args: [file, '--sentinel', '--port', String(port), '--bind', '127.0.0.1'] }), /Sentinel ID is/)
    await sentinel.start()
    t.teardown(() => sentinel.kill())
    ports.push(sentinel.port)
  }
  const set = new RedisSentinel(ports)
  t.teardown(() => { set.close() })
  await set.settled(replicas)
  return set
}
