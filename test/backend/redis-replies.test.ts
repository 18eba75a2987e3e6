import { randomUUID } from 'node:crypto'
import { Cluster, Redis } from 'ioredis'
import t from 'tap'
import type { CommitRequest } from '../../lib/backend/backend.js'
import { isNotNow, isRefusal, mayHaveRun } from '../../lib/backend/redis-replies.js'
import { RedisBackend } from '../../lib/backend/redis/redis.js'
import { redisServer } from '../helpers/redis-server.js'
import { until } from '../helpers/until.js'

function reply (message: string): Error { return Object.assign(new Error(message), { name: 'ReplyError' }) }

const SHA = '0123456789abcdef0123456789abcdef01234567'

t.test('redis replies: each error says whether a commit may have happened, whether to try again, and whether it is no use', async (t) => {
  // [message, may have happened, is for now, refuses the connection]
  const replies: Array<[message: string, mayHappened: boolean, notNow?: boolean, refused?: boolean]> = [
    ['LOADING Redis is loading the dataset in memory', false, true],
    ["READONLY You can't write against a read only replica.", false, true],
    [`READONLY You can't write against a read only replica. script: ${SHA}, on @user_script:50.`, false, true],
    [`ERR Error running script (call to f_${SHA}): @user_script:50: -READONLY You can't write against a read only replica.`, false, true],
    ["MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", false, true],
    ['NOREPLICAS Not enough good replicas to write.', false, true],
    [`NOREPLICAS Not enough good replicas to write. script: ${SHA}, on @user_script:50.`, false, true],
    [`ERR Error running script (call to f_${SHA}): @user_script:50: -NOREPLICAS Not enough good replicas to write.`, false, true],
    ['BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.', false, true],
    ['CLUSTERDOWN The cluster is down', false, true],
    ['TRYAGAIN Multiple keys request during rehashing of slot', false, true],
    ["OOM command not allowed when used memory > 'maxmemory'.", false],
    [`OOM command not allowed when used memory > 'maxmemory'. script: ${SHA}, on @user_script:50.`, false],
    [`ERR Error running script (call to f_${SHA}): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.`, false],
    ['MISCONF Redis is configured to save RDB snapshots, but it is currently unable to persist to disk.', false],
    ['NOSCRIPT No matching script. Please use EVAL.', false],
    ['EXECABORT Transaction discarded because of previous errors.', false],
    ['UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)', false],
    ['MOVED 3999 127.0.0.1:6381', false],
    ['CROSSSLOT Keys in request don\'t hash to the same slot', false],
    ['WRONGPASS invalid username-password pair or user is disabled.', false, false, true],
    ['NOAUTH Authentication required.', false, false, true],
    ["NOPERM User x has no permissions to run the 'evalsha' command", false, false, true],
    ['DENIED Redis is running in protected mode because protected mode is enabled', false, false, true],
    ['ERR invalid password', false, false, true],
    ['ERR DB index is out of range', false, false, true],
    ['ERR unknown command', false],
    ['ERR Error running script (call to f_): @user_script:3: Script killed by user with SCRIPT KILL.', false],
    // they may come after a write
    [`ERR The user executing the script can't publish to the channel mentioned in the command script: ${SHA}, on @user_script:108.`, true],
    [`NOPERM ACL failure in script: No permissions to access a channel script: ${SHA}, on @user_script:70.`, true, false, true],
    [`WRONGTYPE Operation against a key holding the wrong kind of value script: ${SHA}, on @user_script:50.`, true],
    [`ERR Error running script (call to f_${SHA}): @user_script:50: -WRONGTYPE Operation against a key`, true]
  ]
  for (const [message, mayHappened, notNow = false, refused = false] of replies) {
    t.strictSame([mayHaveRun(reply(message)), isNotNow(message), isRefusal(reply(message))], [mayHappened, notNow, refused], message)
  }
  t.notOk(mayHaveRun(new Error("Stream isn't writeable and enableOfflineQueue options is false")), 'it was never sent')
  for (const message of ['Connection is closed.', 'Reached the max retries per request limit (which is 0).', "Cluster isn't ready and enableOfflineQueue options is false"]) t.ok(mayHaveRun(new Error(message)), message)
})

interface Test { teardown (fn: () => unknown): void }

async function connected (t: Test, options: ConstructorParameters<typeof RedisBackend>[0]): Promise<{ backend: RedisBackend, request: () => CommitRequest }> {
  const backend = new RedisBackend({ keyPrefix: `${randomUUID()}:`, commandTimeoutMs: 2000, ...options })
  await backend.connect()
  t.teardown(() => backend.close())
  const { epoch } = await backend.read('k')
  const commit = (version: number, id: string): CommitRequest => ({ base: { epoch, version, id }, commits: [{ id: version === 0 ? 'first' : randomUUID(), patches: '[]' }] })
  await backend.commit('k', commit(0, ''))
  return { backend, request: () => commit(1, 'first') }
}

t.test('with real servers: what certainly did not happen is never OUTCOME_UNKNOWN', async (t) => {
  const other = await redisServer(t)
  const cases: Array<[name: string, code: string, message: RegExp, strike: (admin: Redis) => Promise<unknown>, heal: (admin: Redis) => Promise<unknown>]> = [
    ['a replica', 'BACKEND_UNAVAILABLE', /READONLY/, (admin) => admin.call('replicaof', '127.0.0.1', other.port), (admin) => admin.call('replicaof', 'no', 'one')],
    ['too few replicas', 'BACKEND_UNAVAILABLE', /NOREPLICAS/, (admin) => admin.config('SET', 'min-replicas-to-write', '1'), (admin) => admin.config('SET', 'min-replicas-to-write', '0')],
    ['no memory', 'BACKEND_REFUSED', /OOM/, (admin) => admin.config('SET', 'maxmemory', '1'), (admin) => admin.config('SET', 'maxmemory', '0')],
    ['no permission', 'BACKEND_REFUSED', /NOPERM/, (admin) => admin.call('acl', 'SETUSER', 'default', '-evalsha'), (admin) => admin.call('acl', 'SETUSER', 'default', '+evalsha')],
    ['a script that runs on', 'BACKEND_UNAVAILABLE', /BUSY/, async (admin) => {
      await admin.config('SET', 'busy-reply-threshold', '50')
      const loop = new Redis(admin.options.port!)
      loop.eval('while true do end', 0).catch(() => { loop.disconnect() })
      await until(async () => await admin.ping().then(() => false, () => true))
    }, (admin) => admin.call('script', 'KILL')]
  ]
  for (const [name, code, message, strike, heal] of cases) {
    const server = await redisServer(t)
    const admin = new Redis(server.port)
    t.teardown(() => { admin.disconnect() })
    const { backend, request } = await connected(t, { url: server.url })
    await strike(admin)
    await t.rejects(backend.commit('k', request()), { code, message }, name)
    const waits = code === 'BACKEND_UNAVAILABLE' ? backend.commit('k', request()) : undefined
    await heal(admin)
    if (waits !== undefined) t.match(await waits, { accepted: true }, `${name}: a commit that waits happens once that is over`)
    else t.match(await backend.commit('k', request()), { accepted: true })
  }
})

t.test('redis replies: a store that is away and was never asked leaves nothing in doubt', async (t) => {
  const server = await redisServer(t)
  const { backend, request } = await connected(t, { url: server.url })
  await server.process.kill()
  await backend.get('k').catch(() => {}) // by now it knows
  await t.rejects(backend.commit('k', request()), { code: 'BACKEND_UNAVAILABLE', message: /not available/ })
})

t.test('redis replies: a refusal in the middle of a commit leaves it in doubt', async (t) => {
  const server = await redisServer(t)
  const admin = new Redis(server.port)
  t.teardown(() => { admin.disconnect() })
  const { backend, request } = await connected(t, { url: server.url })
  await admin.call('acl', 'SETUSER', 'default', 'resetchannels')
  await t.rejects(backend.commit('k', request()), { code: 'OUTCOME_UNKNOWN', cause: { message: /to the channel|access a channel|NOPERM/ } })
  t.match(await backend.read('k'), { version: 2 }, 'for it did happen')
})

t.test('redis replies: a password that is refused after a reconnect is called that, by everything', async (t) => {
  const server = await redisServer(t, { args: ['--requirepass', 'secret'] })
  const { backend, request } = await connected(t, { url: server.url.replace('//', '//:secret@'), commandTimeoutMs: 10_000 })
  const admin = new Redis(server.port, { password: 'secret' })
  t.teardown(() => { admin.disconnect() })
  await admin.config('SET', 'requirepass', 'other')
  await admin.call('client', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await admin.call('client', 'KILL', 'TYPE', 'pubsub')
  const expected = { code: 'BACKEND_REFUSED', message: /^Redis refused the call: WRONGPASS/, cause: { name: 'ReplyError' } }
  await until(async () => await backend.get('k').then(() => false, () => true))
  await t.rejects(backend.get('k'), expected)
  await t.rejects(backend.commit('k', request()), expected)
  await t.rejects(backend.publish('k', 1), expected)
  await t.rejects(backend.consume('k', { windowMs: 1000, maxRequests: 1 }, 1), expected)
  await admin.config('SET', 'requirepass', 'secret')
  await until(async () => await backend.get('k').then(() => true, () => false))
  t.match(await backend.commit('k', request()), { accepted: true }, 'and it comes back')
})

t.test('redis replies: also in a Cluster', async (t) => {
  const server = await redisServer(t, { args: ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1', '--requirepass', 'secret'] })
  const admin = new Redis(server.port, { password: 'secret' })
  await admin.cluster('ADDSLOTSRANGE', 0, 16383)
  await until(async () => (await admin.cluster('INFO')).includes('cluster_state:ok'))
  const redis = new Cluster([{ host: '127.0.0.1', port: server.port }], { lazyConnect: true, slotsRefreshTimeout: 10_000, redisOptions: { password: 'secret' } })
  t.teardown(() => { admin.disconnect() })
  const { backend } = await connected(t, { redis, commandTimeoutMs: 10_000 })
  await admin.config('SET', 'requirepass', 'other')
  await admin.call('client', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await admin.call('client', 'KILL', 'TYPE', 'pubsub')
  await until(async () => await backend.get('k').then(() => false, () => true))
  await t.rejects(backend.get('k'), { code: 'BACKEND_REFUSED', message: /^Redis refused the call: WRONGPASS/ })
})

t.test('redis replies: a server that comes back with fewer databases is refused, and not written to', async (t) => {
  const server = await redisServer(t)
  const { backend } = await connected(t, { url: `${server.url}/15`, commandTimeoutMs: 10_000 })
  await server.process.kill()
  const smaller = new Redis(server.port, { lazyConnect: true, retryStrategy: () => 50 })
  t.teardown(() => { smaller.disconnect() })
  await server.restart({ keepsData: false, args: ['--databases', '1'] })
  await t.rejects(backend.set('k', 1), { code: 'BACKEND_REFUSED', message: /DB index/ })
  await smaller.connect()
  t.equal(await smaller.dbsize(), 0)
})
