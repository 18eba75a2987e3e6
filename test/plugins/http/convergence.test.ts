import t, { type Test } from 'tap'
import { isEqual } from '../../../lib/protocol/json.js'
import type { Operation } from '../../../lib/protocol/messages.js'
import { applyPatch } from '../../../lib/protocol/patch.js'
import { RedisBackend } from '../../../plugins/server.js'
import { randomOf, seed } from '../../helpers/random.js'
import { redisServer } from '../../helpers/redis-server.js'
import { inTime, until } from '../../helpers/until.js'
import { type EventReader, follow } from './event-reader.js'
import { type HttpServer, startFastify, startPlain } from './start.js'

t.comment(`seed ${seed} (SEED=${seed} repeats this run)`)

const KEY = 'the/key'

/** A client that knows nothing but the events, and comes back with the id of the last. */
class Follower {
  value: unknown
  id: string | undefined
  /** What no server may do to it. */
  readonly complaints: string[] = []
  readonly counts = { snapshot: 0, patch: 0, deleted: 0, connections: 0 }
  #reader: EventReader | undefined
  #taken = 0

  async connect (t: Test, { api }: HttpServer): Promise<void> {
    this.#reader?.end()
    this.#taken = 0
    this.counts.connections++
    this.#reader = await follow(t, `${api}/state/${encodeURIComponent(KEY)}`, this.id === undefined ? {} : { 'last-event-id': this.id })
    if (this.#reader.response.statusCode !== 200) this.complaints.push(`status ${this.#reader.response.statusCode!}`)
  }

  /** Takes what has come. */
  read (): void {
    const events = this.#reader?.events ?? []
    for (const { event, id, data } of events.slice(this.#taken)) {
      this.#taken++
      const [, epoch, version] = /^(.*)-(\d+)$/.exec(id ?? '') ?? []
      const [, lastEpoch, last] = /^(.*)-(\d+)$/.exec(this.id ?? '') ?? []
      if (epoch === undefined) this.complaints.push(`an event "${event}" without an id`)
      // one that comes back without a value is told again that there is none
      const isRepeated = event === 'deleted' && version === last
      if (epoch === lastEpoch && Number(version) <= Number(last) && !isRepeated) this.complaints.push(`version ${version!} after ${last!}`)
      if (event === 'patch' && epoch !== lastEpoch) this.complaints.push('a patch of another epoch')
      this.id = id
      this.counts[event as 'patch']++
      if (event === 'snapshot') this.value = data
      else if (event === 'deleted') this.value = undefined
      else this.value = applyPatch(this.value, data as Operation[])
    }
  }

  end (): void { this.#reader?.end() }
}

async function tell (t: Test, servers: HttpServer[], steps: number, own: number): Promise<void> {
  const random = randomOf(own)
  const pick = <T>(list: readonly T[]): T => list[random(list.length)]!
  const followers = Array.from({ length: 8 }, () => new Follower())
  for (const follower of followers) await follower.connect(t, pick(servers))
  for (let i = 0; i < steps; i++) {
    const { live } = pick(servers).ds.primitives
    const kind = random(30)
    const [name, length] = [`m${random(5)}`, random(10) === 0 ? random(50_000) : random(50)]
    if (kind === 0) await live.deleteState(KEY)
    else if (kind === 1) await live.setState(KEY, { i, text: 'x'.repeat(length) })
    else await live.update(KEY, (draft: any) => { if (draft === undefined) return { [name]: i }; draft[name] = kind % 3 === 0 ? 'x'.repeat(length) : [i, { [name]: i }]; if (kind % 5 === 0) delete draft.m0; return undefined })
    if (random(4) === 0) {
      const follower = pick(followers)
      follower.read()
      await follower.connect(t, pick(servers))
    }
    if (random(3) === 0) pick(followers).read()
  }
  const { live } = servers[0]!.ds.primitives
  await live.setState(KEY, { end: own })
  const last = await live.getState(KEY)
  await inTime(until(() => {
    for (const follower of followers) follower.read()
    return followers.every(({ value }) => isEqual(value as never, last as never))
  }, 10_000), () => JSON.stringify(followers.map(({ value, id, counts }) => ({ value: JSON.stringify(value)?.slice(0, 100), id, counts }))))
  t.strictSame(followers.flatMap(({ complaints }) => complaints), [])
  const sum = (kind: keyof Follower['counts']): number => followers.reduce((total, { counts }) => total + counts[kind], 0)
  t.comment(`snapshots ${sum('snapshot')}, patches ${sum('patch')}, deletions ${sum('deleted')}, connections ${sum('connections')}`)
  t.ok(sum('patch') > sum('snapshot'), 'most of what comes is patches')
  for (const follower of followers) follower.end()
  for (const { ds } of servers) await until(() => ds.transport.getConnectionCount() === 0)
}

for (let i = 0; i < 3; i++) {
  t.test(`convergence: followers that come and go, in memory, ${i}`, async (t) => {
    const server = await startFastify(t, { http: { maxStreamsPerUser: 1000 } })
    await tell(t, [server], 300, seed + i)
  })
}

t.test('convergence: followers that change between two nodes that share a Redis', async (t) => {
  const redis = await redisServer(t)
  const start = async (of: typeof startFastify): Promise<HttpServer> => await of(t, { http: { maxStreamsPerUser: 1000 }, stateBackend: new RedisBackend({ url: redis.url }) })
  await tell(t, [await start(startFastify), await start(startPlain)], 300, seed + 10)
})
