import { PostgresBackend } from '../lib/backend/postgres/postgres.js'
import { RedisBackend } from '../lib/backend/redis/redis.js'
import { DatasoleServer } from '../plugins/server.js'
import { PostgresServer } from '../test/helpers/postgres-server.js'
import { RedisServer } from '../test/helpers/redis-server.js'
import { type Figure, ROUNDS, WARM_UP, quantile } from './compare.js'
import { records } from './records.js'
import { type Kind, Subject } from './subject.js'

const CONNECTIONS = 500
const EVENTS = 20

/** CPU of both processes (µs) per delivery, and how long each delivery took (ms). */
interface Round { cost: number, latencies: number[] }

/** Two processes that share a Redis: one publishes, the other has the clients. */
class Pair {
  readonly #publisher: Subject
  readonly #receiver: Subject

  constructor (kind: Kind, url: string) {
    this.#publisher = new Subject(kind, { REDIS_URL: url })
    this.#receiver = new Subject(kind, { REDIS_URL: url })
  }

  async start (): Promise<this> {
    await Promise.all([this.#publisher.start(), this.#receiver.start()])
    await this.#receiver.connect(CONNECTIONS)
    return this
  }

  async round (): Promise<Round> {
    let latencies: number[] = []
    let receiving = 0
    const publishing = await this.#publisher.cost(async () => {
      receiving = await this.#receiver.cost(async () => {
        latencies = await this.#receiver.latencies(EVENTS, () => { this.#publisher.tell({ do: 'broadcast', bytes: 100 }) })
      })
    })
    return { cost: (publishing + receiving) / latencies.length, latencies }
  }

  async stop (): Promise<void> {
    await Promise.all([this.#publisher.stop(), this.#receiver.stop()])
  }
}

/** An event on one node to 500 clients of another, beside ws and ioredis put together by hand. */
export async function nodes (): Promise<Figure[]> {
  const redis = await RedisServer.start()
  const [datasole, relay] = [await new Pair('datasole', redis.url).start(), await new Pair('ws', redis.url).start()]
  try {
    for (const pair of [datasole, relay]) for (const end = performance.now() + WARM_UP; performance.now() < end;) await pair.round()
    const ours: Round[] = []
    const theirs: Round[] = []
    for (let round = 0; round < ROUNDS; round++) {
      ours.push(await datasole.round())
      theirs.push(await relay.round())
    }
    const figure = (name: string, unit: string, target: string, of: (round: Round) => number): Figure => {
      const [a, b] = [ours.map(of), theirs.map(of)]
      const ratios = a.map((value, i) => value / b[i]!)
      return { name, unit, target, ours: quantile(a, 0.5), theirs: quantile(b, 0.5), ratio: [quantile(ratios, 0.25), quantile(ratios, 0.5), quantile(ratios, 0.75)] }
    }
    return [
      figure(`event on one node to ${CONNECTIONS} clients of another, over Redis`, 'deliveries per CPU second', '≥ 0.8', ({ cost }) => 1e6 / cost),
      figure('the same, from the publisher to the client, p99', 'ms', '', ({ latencies }) => quantile(latencies, 0.99))
    ]
  } finally {
    await datasole.stop()
    await relay.stop()
    await redis.close()
  }
}

export interface CommitCost { store: string, bytes: number, elapsed: number, cpu: number }

/** One field of a value of 10 KB and of 1 MB, one commit after the other (µs), in turn. */
export async function commits (): Promise<CommitCost[]> {
  const redis = await RedisServer.start({ isDurable: true })
  const postgres = await PostgresServer.start({ isDurable: true })
  const results = []
  for (const [store, stateBackend] of [['Redis', new RedisBackend({ url: redis.url })], ['Postgres', new PostgresBackend({ connectionString: postgres.url })]] as const) {
    const ds = new DatasoleServer({ stateBackend })
    await ds.init()
    const sizes = [100, 10_000]
    for (const size of sizes) await ds.primitives.live.setState(String(size), { records: records(size) })
    const rounds: Record<number, Array<{ elapsed: number, cpu: number }>> = {}
    for (let round = 0; round < 2 * ROUNDS; round++) {
      for (const size of sizes) {
        const cost = await update(ds, String(size), 200)
        // until its hot path is compiled
        if (round >= ROUNDS) (rounds[size] ??= []).push(cost)
      }
    }
    for (const size of sizes) {
      const bytes = JSON.stringify({ records: records(size) }).length
      results.push({ store, bytes, elapsed: quantile(rounds[size]!.map(({ elapsed }) => elapsed), 0.5), cpu: quantile(rounds[size]!.map(({ cpu }) => cpu), 0.5) })
    }
    await ds.close()
  }
  await redis.close()
  await postgres.close()
  return results
}

async function update (ds: DatasoleServer, key: string, count: number): Promise<{ elapsed: number, cpu: number }> {
  const began = performance.now()
  const { user, system } = process.cpuUsage()
  for (let i = 0; i < count; i++) {
    await ds.primitives.live.update(key, (draft) => { (draft as { records: Array<{ value: number }> }).records[50]!.value++ })
  }
  const used = process.cpuUsage()
  return { elapsed: (performance.now() - began) * 1000 / count, cpu: (used.user + used.system - user - system) / count }
}
