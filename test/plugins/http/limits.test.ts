import t from 'tap'
import { DefaultRateLimiter, MemoryBackend, type RateLimiter } from '../../../plugins/server.js'
import { Work } from '../../../lib/server/connection/work.js'
import { Callers } from '../../../lib/server/http/callers.js'
import { resolveOptions } from '../../../lib/server/config/settings.js'
import { until } from '../../helpers/until.js'
import { type Answer, type HttpServer, ask, startFastify } from './start.js'

const HOUR = 3_600_000
const users = async (req: { headers: { authorization?: string } }): Promise<{ authenticated: true, userId: string }> => ({ authenticated: true, userId: req.headers.authorization!.slice('Bearer '.length) })
const call = ({ api }: HttpServer, method: string, user = 'ann'): Promise<Answer> => ask(`${api}/rpc/${method}`, { method: 'POST', json: {}, headers: { authorization: `Bearer ${user}` } })
const as = (user: string): { headers: Record<string, string> } => ({ headers: { authorization: `Bearer ${user}` } })

t.test('limits: the requests of one user share a bucket by rule', async (t) => {
  const server = await startFastify(t, {
    authHandler: users,
    rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 5 }, rules: { add: { windowMs: HOUR, maxRequests: 2 }, $subscribe: { windowMs: HOUR, maxRequests: 3 } } },
    prepare: (ds) => { ds.rpc.register('add', () => 1); ds.rpc.register('other', () => 1) },
    http: { allowPatch: true, allowBroadcast: true, allowConnections: true }
  })
  const { api, ds } = server
  await ds.primitives.live.setState('board', { n: 1 })
  for (let i = 0; i < 2; i++) t.equal((await call(server, 'add')).status, 200)
  const refused = await call(server, 'add')
  t.match(refused, { status: 429, body: { error: { code: -32029, data: { code: 'RATE_LIMITED', retryAfter: Number } } } })
  t.ok(Number(refused.headers.get('retry-after')) > 3000, 'in s')
  t.equal((await call(server, 'other')).status, 200)
  t.equal((await call(server, 'add', 'bob')).status, 200, 'another user has buckets of his own')

  for (let i = 0; i < 3; i++) t.equal((await ask(`${api}/state/board`, as('ann'))).status, 200)
  const read = await ask(`${api}/state/board`, as('ann'))
  t.match(read, { status: 429, body: { statusCode: 429, code: 'RATE_LIMITED', error: 'rate limit exceeded' } })
  t.ok(Number(read.headers.get('retry-after')) > 3000)
  t.equal((await ask(`${api}/state/board`, { headers: { ...as('ann').headers, accept: 'text/event-stream' } })).status, 429)

  // of the default bucket `other` has taken one
  const acts = [
    () => ask(`${api}/events/hello`, { method: 'POST', json: {}, ...as('ann') }),
    () => ask(`${api}/connections`, as('ann')),
    () => ask(`${api}/state/board`, { method: 'PATCH', json: [], type: 'application/json-patch+json', ...as('ann') })
  ]
  for (const act of [...acts, acts[0]!]) t.ok((await act()).status < 300)
  for (const act of acts) t.match(await act(), { status: 429, body: { code: 'RATE_LIMITED' } })
  t.equal(ds.metrics.snapshot().rateLimited > 0, true)
})

t.test('limits: a keyExtractor by user makes one bucket of requests and socket', async (t) => {
  const names: string[] = []
  const server = await startFastify(t, {
    authHandler: users,
    rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 4 }, keyExtractor: (id, _method, { userId }) => { names.push(id); return userId! } },
    prepare: (ds) => { ds.rpc.register('add', () => 1) }
  })
  const wire = await server.connect(as('ann'))
  for (let i = 0; i < 2; i++) {
    t.equal((await call(server, 'add')).status, 200)
    t.match(await wire.call('add'), { result: 1 })
  }
  t.equal((await call(server, 'add')).status, 429)
  t.match(await wire.call('add'), { error: { code: -32029 } })
  t.equal((await call(server, 'add', 'bob')).status, 200)
  t.equal(names[0], 'http:ann', 'the id that it gets stays the same')
})

t.test('limits: a limiter of the user knows the requests of one user by one name', async (t) => {
  const asked: string[] = []
  const windows = new DefaultRateLimiter(new MemoryBackend())
  const rateLimiter: RateLimiter = {
    check: (key, rule) => windows.check(key, rule),
    consume: (key, rule, cost) => {
      asked.push(key)
      return windows.consume(key, rule, cost)
    },
    reset: (key) => windows.reset(key)
  }
  const server = await startFastify(t, { rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 1 } }, rateLimiter, authHandler: users, prepare: (ds) => { ds.rpc.register('add', () => 1) } })
  t.equal((await call(server, 'add')).status, 200)
  t.equal((await call(server, 'add')).status, 429)
  t.match(asked, [/\nhttp:ann$/, /\nhttp:ann$/])
})

t.test('limits: who goes on regardless is refused before anything is looked at', async (t) => {
  const server = await startFastify(t, { authHandler: users, rateLimit: { defaultRule: { windowMs: HOUR, maxRequests: 0 } }, prepare: (ds) => { ds.rpc.register('add', () => 1) } })
  for (let i = 0; i < 50; i++) await Promise.all(Array.from({ length: 20 }, () => call(server, 'add')))
  const refused = await call(server, 'add')
  t.match(refused, { status: 429, body: { code: 'CLOSED', error: 'rate limit exceeded persistently' } })
  t.equal(refused.headers.get('retry-after'), '1')
})

t.test('limits: calls in flight are those of a user', async (t) => {
  const waiting: Array<() => void> = []
  const server = await startFastify(t, { maxCallsInFlight: 2, authHandler: users, prepare: (ds) => { ds.rpc.register('hold', () => new Promise<void>((resolve) => { waiting.push(resolve) })) } })
  const held = [call(server, 'hold'), call(server, 'hold')]
  await until(() => waiting.length === 2)
  const refused = await call(server, 'hold')
  t.match({ status: refused.status, body: refused.body, after: refused.headers.get('retry-after') }, { status: 503, body: { error: { code: -32030 } }, after: '1' })
  const other = call(server, 'hold', 'bob')
  await until(() => waiting.length === 3)
  for (const release of waiting.splice(0)) release()
  for (const answer of [...held, other]) t.equal((await answer).status, 200)
  const again = call(server, 'hold')
  await until(() => waiting.length === 1)
  waiting[0]!()
  t.equal((await again).status, 200)
})

t.test('limits: callers are remembered up to a bound, and those with something under way longer', async (t) => {
  const callers = new Callers(resolveOptions({}), 10, 10)
  const connection = (userId: string): never => ({ work: new Work(), context: { userId, remoteAddress: '' } }) as never
  const first: { work: Work } = connection('first')
  callers.lend(first as never)
  const end = callers.wait(first as never)
  for (let i = 0; i < 10_100; i++) callers.lend(connection(String(i)))
  t.equal(callers.size, 10_000)
  const { buckets } = first.work
  callers.lend(first as never)
  t.equal(first.work.buckets, buckets)
  end()
  end()
  for (let i = 0; i < 10_100; i++) callers.lend(connection(String(i)))
  callers.lend(first as never)
  t.not(first.work.buckets, buckets)
  for (let i = 0; i < 10; i++) callers.wait(connection(String(i)))
  t.throws(() => callers.wait(first as never), { status: 503 } as never)
})
