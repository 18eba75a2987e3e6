import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import pg from 'pg'
import t from 'tap'
import { postgresServer } from './postgres-server.js'
import { redisServer } from './redis-server.js'
import { ServerProcess } from './server-process.js'
import { until } from './until.js'

/** Whether something that was asked of a server is still without an answer after 300 ms. */
async function isWaiting (answer: Promise<unknown>): Promise<boolean> {
  return await Promise.race([answer.then(() => false), setTimeout(300, true)])
}

t.test('servers: a Redis is killed, comes back on its port with and without its data, and stands still', async (t) => {
  const server = await redisServer(t, { isDurable: true })
  const { port } = server
  const client = new Redis(port, { retryStrategy: () => 20 })
  t.teardown(() => { client.disconnect() })
  client.on('error', () => {}) // while it is away
  await client.set('k', 'v')
  await server.process.kill()
  await server.restart({ keepsData: true })
  t.equal(server.port, port)
  t.equal(await client.get('k'), 'v')
  await server.process.pause()
  const answer = client.get('k')
  t.ok(await isWaiting(answer))
  await server.process.resume()
  t.equal(await answer, 'v')
  await server.process.kill()
  await server.restart({ keepsData: false })
  t.equal(await client.get('k'), null)
})

t.test('servers: all processes of a Postgres are killed or stand still, busy ones too', async (t) => {
  const server = await postgresServer(t)
  const open = async (): Promise<pg.Client> => {
    const client = new pg.Client(server.url)
    client.on('error', () => {}) // it is killed
    await client.connect()
    return client
  }
  /** Keeps a connection's process so busy that it looks at nothing else. */
  const keepBusy = async (client: pg.Client): Promise<{ lost: Promise<unknown> }> => {
    const lost = t.rejects(client.query('SELECT count(*) FROM generate_series(1, 1000000000)'))
    const witness = await open()
    const active = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT count%'"
    await until(async () => (await witness.query(active)).rowCount !== 0)
    return { lost }
  }
  const first = await open()
  await first.query('CREATE TABLE kept AS SELECT 1 AS n')
  const { lost } = await keepBusy(first)
  await server.process.kill()
  await lost
  await server.restart()
  const second = await open()
  await server.process.pause()
  const answer = second.query('SELECT n FROM kept')
  t.ok(await isWaiting(answer))
  await server.process.resume()
  t.strictSame((await answer).rows, [{ n: 1 }])
  const { lost: lostToo } = await keepBusy(second)
  await server.process.pause()
  await server.process.kill()
  await lostToo
  await server.restart()
  const third = await open()
  t.strictSame((await third.query('SELECT n FROM kept')).rows, [{ n: 1 }])
  await third.end()
})

t.test('servers take another port where one is unfit, and say why they do not start', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  t.teardown(() => taken.close())
  const chosen: number[] = []
  const server = new ServerProcess('Redis', (port) => {
    chosen.push(port)
    const own = chosen.length === 1 ? (taken.address() as AddressInfo).port : port
    return { program: process.env.REDIS_SERVER!, args: ['--save', '', '--bind', '127.0.0.1', '--port', String(own)] }
  }, /ready to accept connections/i)
  t.teardown(() => server.kill())
  await server.start()
  t.equal(server.port, chosen[1])
  const broken = new ServerProcess('It', () => ({ program: process.execPath, args: ['-e', 'console.error("no such luck"); process.exit(1)'] }), /ready/)
  await t.rejects(broken.start(), { message: 'It did not start:\nno such luck\n' })
  await t.rejects(new ServerProcess('It', () => ({ program: '/no/such/program', args: [] }), /ready/).start(), /did not start:\n.*no\/such\/program/)
})

// elsewhere nobody tells them
if (process.platform === 'linux') {
  t.test('servers die with who started them, even where that is killed', async (t) => {
    const script = `
      import { PostgresServer } from '${new URL('postgres-server.js', import.meta.url).href}'
      import { RedisServer } from '${new URL('redis-server.js', import.meta.url).href}'
      console.log((await RedisServer.start()).url)
      console.log((await PostgresServer.start()).url)
    `
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, TMPDIR: t.testdir() } })
    const lines = createInterface(starter.stdout)[Symbol.asyncIterator]()
    const redis = new Redis((await lines.next()).value!, { retryStrategy: () => null })
    const postgres = new pg.Client((await lines.next()).value!)
    for (const client of [redis, postgres]) client.on('error', () => {}) // this is how it ends
    t.equal(await redis.ping(), 'PONG')
    await postgres.connect()
    const { rows } = await postgres.query('SHOW data_directory')
    const ended = Promise.all([redis, postgres].map((client) => new Promise<void>((resolve) => client.on('end', resolve))))
    starter.kill('SIGKILL')
    await ended
    await t.rejects(new pg.Client({ port: postgres.port, host: postgres.host }).connect(), { code: 'ECONNREFUSED' })
    await rm(dirname(rows[0].data_directory), { recursive: true })
  })
}
