import { Redis } from 'ioredis'
import { type RedisServer, redisServer } from './redis-server.js'
import { until } from './until.js'

interface Test { teardown (fn: () => unknown): void }

/** ms within which a Cluster agrees on a change; one of six processes on a busy machine is not fast. */
const AGREEMENT = 30_000

const SLOTS = 16384

/** ms */
const NODE_TIMEOUT = 2000

/** A Redis Cluster of the test's own, each shard with one replica. */
export class RedisCluster {
  readonly servers: RedisServer[]
  readonly admins: Redis[]

  constructor (servers: RedisServer[]) {
    this.servers = servers
    this.admins = servers.map(({ port }) => new Redis(port))
  }

  get startupNodes (): Array<{ host: string, port: number }> {
    return this.servers.map(({ port }) => ({ host: '127.0.0.1', port }))
  }

  async form (shards: number): Promise<void> {
    const [first, ...others] = this.admins
    for (let i = 0; i < shards; i++) {
      const from = Math.floor(i * SLOTS / shards)
      await this.admins[i]!.call('cluster', 'ADDSLOTSRANGE', from, Math.floor((i + 1) * SLOTS / shards) - 1)
    }
    for (const [i, admin] of this.admins.entries()) await admin.call('cluster', 'SET-CONFIG-EPOCH', i + 1)
    for (const { options } of others) await first!.call('cluster', 'MEET', '127.0.0.1', options.port!)
    await this.#agreed(async (admin) => (await admin.call('cluster', 'NODES') as string).trim().split('\n').length === this.admins.length)
    for (const [i, admin] of this.admins.slice(shards).entries()) {
      const master = await this.admins[i % shards]!.call('cluster', 'MYID') as string
      await admin.call('cluster', 'REPLICATE', master)
    }
    await this.#agreed(async (admin) => (await admin.call('cluster', 'INFO') as string).includes('cluster_state:ok'))
    await this.settled()
  }

  /** Those that replicate, and are ready to take over. */
  async replicas (): Promise<Redis[]> {
    const roles = await Promise.all(this.admins.map(async (admin) => await admin.call('role') as [string, string, number, string]))
    return this.admins.filter((_, i) => roles[i]![0] === 'slave' && roles[i]![3] === 'connected')
  }

  async masters (): Promise<Redis[]> {
    const roles = await Promise.all(this.admins.map(async (admin) => await admin.call('role') as [string]))
    return this.admins.filter((_, i) => roles[i]![0] === 'master')
  }

  /** Resolves once each shard has its replica, and it is connected. */
  async settled (): Promise<void> {
    await until(async () => (await this.replicas()).length === this.admins.length / 2, AGREEMENT)
  }

  /** Planned: the replica takes over from its master, which loses nothing. */
  async failover (replica: Redis): Promise<void> {
    let asked = 0
    await until(async () => {
      if ((await replica.call('role') as [string])[0] === 'master') return true
      // the other masters vote for a shard once within two node timeouts, and the replica gives up after five seconds
      if (performance.now() - asked > NODE_TIMEOUT) {
        asked = performance.now()
        await replica.call('cluster', 'FAILOVER')
      }
      return false
    })
  }

  close (): void {
    for (const admin of this.admins) admin.disconnect()
  }

  async #agreed (isSo: (admin: Redis) => Promise<boolean>): Promise<void> {
    await until(async () => (await Promise.all(this.admins.map(isSo))).every(Boolean), AGREEMENT)
  }
}

/** A Cluster that ends with the test. */
export async function redisCluster (t: Test, { shards = 3 } = {}): Promise<RedisCluster> {
  const args = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1', '--cluster-node-timeout', String(NODE_TIMEOUT), '--repl-diskless-sync-delay', '0']
  const servers = []
  for (let i = 0; i < 2 * shards; i++) servers.push(await redisServer(t, { args }))
  const cluster = new RedisCluster(servers)
  t.teardown(() => { cluster.close() })
  await cluster.form(shards)
  return cluster
}
