import { createHmac } from 'node:crypto'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { type Channel, DatasoleClient } from '../../lib/client/client.js'
import { redisServer } from '../helpers/redis-server.js'
import { until } from '../helpers/until.js'
import { consumer } from './consumer.js'
import { type App, startApp, writeStep } from './tutorial-app.js'

/** The pages from the login on, as they are read: copied, run by the packed package, and used by a client. */
const { folder } = await consumer(t)
const app = async (step: number): Promise<string> => await writeStep(folder, step)

interface Board { cards: Array<{ id: string, text: string, done: boolean }> }

interface Room { messages: Array<{ by: string, text: string }> }

const post = async (url: string, body?: object, cookie = ''): Promise<Response> => await fetch(url, {
  method: 'POST',
  headers: { cookie, ...body !== undefined && { 'content-type': 'application/json' } },
  ...body !== undefined && { body: JSON.stringify(body) }
})

/** @returns the cookie of a session */
async function logIn (url: string, name: string, password: string): Promise<string> {
  const response = await post(`${url}/login`, { name, password })
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
  return response.headers.get('set-cookie')!.split(';')[0]!
}

async function ticketOf (url: string, cookie: string): Promise<string> {
  const response = await post(`${url}/ticket`, undefined, cookie)
  if (!response.ok) throw new Error(`no ticket: ${response.status}`)
  return (await response.json() as { ticket: string }).ticket
}

const clientOf = (t: Test, url: string, token: () => string | Promise<string>): DatasoleClient => {
  const client = new DatasoleClient({ url, webSocket: WebSocket, getToken: token, onError: () => {}, maxReconnectAttempts: 1 })
  t.teardown(() => client.disconnect())
  return client
}

interface User { client: DatasoleClient, cookie: string, tickets: string[] }

/** A page of a user, who has logged in at one node. */
async function enter (t: Test, url: string, name: string, password: string, at = url): Promise<User> {
  const cookie = await logIn(at, name, password)
  const tickets: string[] = []
  const client = clientOf(t, url, async () => {
    tickets.push(await ticketOf(url, cookie))
    return tickets.at(-1)!
  })
  await client.connect()
  return { client, cookie, tickets }
}

const ada = async (t: Test, { url }: App, at?: string): Promise<User> => await enter(t, url, 'ada', 'lovelace', at)
const bob = async (t: Test, { url }: App, at?: string): Promise<User> => await enter(t, url, 'bob', 'builder', at)

/** A subscription to a room, once the server has let the client in or refused it. */
async function room ({ client }: User, name: string): Promise<{ texts: () => string[], status: () => string, leave: () => void }> {
  const key = `room:${name}`
  let value: Room | undefined
  let status = 'loading'
  const leave = client.subscribeState(key, (given: unknown) => { value = given as Room }, { onStatus: (given) => { status = given }, onError: () => {} })
  await until(() => status === 'denied' || value !== undefined)
  return { texts: () => value?.messages.map(({ by, text }) => `${by}: ${text}`) ?? [], status: () => status, leave }
}

t.test('step 5: users, rooms for some of them, and tokens', async (t) => {
  const server = await startApp(t, await app(5), { TICKET_SECONDS: '8', TOKEN_SECRET: 'known' })
  const { url } = server
  t.equal((await fetch(`${url}/me`)).status, 401)
  for (const body of [{ name: 'ada', password: 'wrong' }, { name: 'constructor', password: 'x' }]) t.equal((await post(`${url}/login`, body)).status, 401)
  t.equal((await post(`${url}/login`, { name: 'ada' })).status, 400)

  const [one, two] = [await ada(t, server), await bob(t, server)]
  t.strictSame(await (await fetch(`${url}/me`, { headers: { cookie: two.cookie } })).json(), { name: 'bob', rooms: ['lobby', 'kitchen'] })
  const [hers, his] = [await room(one, 'lobby'), await room(two, 'lobby')]
  t.equal((await room(two, 'design')).status(), 'denied')
  const heard: unknown[] = []
  two.client.on('typing', ({ data }) => { heard.push(data) })
  one.client.emit('typing', null)
  t.equal(await one.client.rpc('say', { text: 'hello' }), null)
  await until(() => hers.texts().length === 1 && his.texts().length === 1)
  t.strictSame(his.texts(), ['ada: hello'])
  await until(() => heard.length > 0)
  t.strictSame(heard, [{ by: 'ada' }])

  t.test('what is no ticket is refused', async (t) => {
    const [claims, signature] = (await ticketOf(url, one.cookie)).split('.') as [string, string]
    const sign = (claims: object, secret: string): string => {
      const text = Buffer.from(JSON.stringify(claims)).toString('base64url')
      return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`
    }
    const soon = Date.now() + 60_000
    const wrong = {
      none: '',
      nonsense: 'abc',
      unsigned: claims,
      changed: `${Buffer.from(JSON.stringify({ kind: 'ticket', user: 'bob', expires: soon })).toString('base64url')}.${signature}`,
      'of another secret': sign({ kind: 'ticket', user: 'ada', expires: soon }, 'guessed'),
      expired: sign({ kind: 'ticket', user: 'ada', expires: Date.now() - 1 }, 'known'),
      'of nobody': sign({ kind: 'ticket', user: 'eve', expires: soon }, 'known'),
      'a session': decodeURIComponent(one.cookie.split('=')[1]!)
    }
    for (const [what, token] of Object.entries(wrong)) await t.rejects(clientOf(t, url, () => token).connect(), { code: 'CONNECT_FAILED' }, what)
  })

  t.test('a ticket is renewed, and a logout ends all connections', async (t) => {
    const id = one.client.connectionId
    await until(() => one.tickets.length >= 3)
    t.equal(one.client.connectionId, id, 'on the same connection')
    t.equal((await post(`${url}/logout`, undefined, one.cookie)).status, 204)
    await until(() => one.client.connectionId !== id)
    t.equal(two.client.getConnectionState(), 'connected', 'of that user only')
  })

  t.test('guessing passwords is limited', async (t) => {
    let status = 0
    for (let i = 0; i < 10 && status !== 429; i++) status = (await post(`${url}/login`, { name: 'ada', password: String(i) })).status
    t.equal(status, 429)
  })
})

t.test('step 6: two nodes share rooms, figures and logins through Redis', async (t) => {
  const redis = await redisServer(t)
  const folder = await app(6)
  const env = { REDIS_URL: redis.url, TOKEN_SECRET: 'known' }
  const [left, right] = await Promise.all([startApp(t, folder, env), startApp(t, folder, env)])
  // she has logged in at the other node
  const [one, two] = [await ada(t, left, right.url), await bob(t, right)]
  const dashboards = [one, two].map(({ client }) => {
    const seen: { last?: Record<string, unknown> } = {}
    client.subscribeState('dashboard', (value: unknown) => { seen.last = value as Record<string, unknown> })
    return seen
  })
  await until(() => dashboards.every(({ last }) => last?.online === 2 && last.nodes === 2))
  await Promise.all([one, two].flatMap(({ client }) => Array.from({ length: 10 }, () => client.rpc('pick', { names: ['Zoe'] }))))
  await until(() => dashboards.every(({ last }) => last?.picks === 20))

  const [hers, his] = [await room(one, 'lobby'), await room(two, 'kitchen')]
  await one.client.rpc('say', { text: 'hello' })
  await until(() => hers.texts().length === 1)
  t.strictSame(his.texts(), [], 'another room')
  his.leave()
  const heard: unknown[] = []
  two.client.on('typing', ({ data }) => { heard.push(data) })
  const now = await room(two, 'lobby')
  t.strictSame(now.texts(), ['ada: hello'])
  one.client.emit('typing', null)
  await until(() => heard.length > 0)
  t.strictSame(heard, [{ by: 'ada' }])

  const boards = [one, two].map(({ client }) => client.channel('board') as Channel<Board>)
  boards.forEach((board, i) => { board.update((draft) => { draft!.cards.push({ id: String(i), text: `card ${i}`, done: false }) }) })
  await until(() => boards.every((board) => board.get()?.cards.length === 2))
  t.strictSame(boards[0]!.get(), boards[1]!.get(), 'both have one board')

  t.equal(await left.stop(), 0)
  await until(() => dashboards[1]!.last?.nodes === 1 && dashboards[1]!.last.online === 1)
  const again = await startApp(t, folder, env)
  const back = await ada(t, again)
  t.strictSame((await room(back, 'lobby')).texts(), ['ada: hello'], 'nothing is lost')
  t.equal(await again.stop(), 0)
  t.equal(await right.stop(), 0)
  for (const { output, url } of [left, right, again]) t.equal(output(), `Open ${url}\n`, 'nothing is logged')
})

t.test('step 7: a thread computes, and nobody waits', async (t) => {
  const server = await startApp(t, await app(7))
  const { client } = await ada(t, server)
  const hours = [3, 5, 8, 1, 9, 4, 7, 2, 6, 3, 5, 8, 1, 9, 4, 7, 2, 6, 3, 5, 8, 1, 9, 4]
  const split = client.rpc('split', { hours }) as Promise<{ first: number[], second: number[] }>
  let picks = 0
  while (picks < 100 && await Promise.race([split, client.rpc('pick', { names: ['Zoe'] })]) === 'Zoe') picks++
  t.ok(picks >= 10, `${picks} calls were answered meanwhile`)
  const { first, second } = await split
  const sum = (list: number[]): number => list.reduce((a, b) => a + b, 0)
  t.equal(sum(first), sum(second) + sum(hours) % 2 * Math.sign(sum(first) - sum(second)))
  t.strictSame([...first, ...second].sort(), [...hours].sort())
  await t.rejects(client.rpc('split', { hours: [...hours, 1] }), { code: -32602 })
  t.equal(await server.stop(), 0)
})

t.test('step 8: health, metrics, proxies, an end in waves', async (t) => {
  const folder = await app(8)
  const redis = await redisServer(t)
  const env = { REDIS_URL: redis.url, TOKEN_SECRET: 'known', NODE_ENV: 'production', DRAIN_MS: '1000' }
  await t.rejects(startApp(t, folder, { NODE_ENV: 'production' }), /set REDIS_URL and TOKEN_SECRET/)
  const server = await startApp(t, folder, env)
  const health = await fetch(`${server.url}/ops/health`)
  t.match(await health.json(), { status: 'ready', backends: [{ scope: 'root', ready: true, lagMs: Number }] })
  t.match(await (await fetch(`${server.url}/ops/metrics`)).text(), /^# HELP datasole_connections Open connections\.\n# TYPE datasole_connections gauge\ndatasole_connections 0$/m)
  t.match((await post(`${server.url}/login`, { name: 'ada', password: 'lovelace' })).headers.get('set-cookie'), /^session=\S+; Max-Age=28800; Path=\/; HttpOnly; SameSite=Strict; Secure$/)

  const { client, cookie } = await ada(t, server)
  const origin = async (headers: Record<string, string>): Promise<number> => await new Promise((resolve, reject) => {
    void ticketOf(server.url, cookie).then((ticket) => {
      const socket = new WebSocket(`${server.url}/__ds`, ['datasole.v2'], { headers: { origin: 'https://team.example.com', authorization: `Bearer ${ticket}`, ...headers } })
      socket.on('open', () => { socket.terminate(); resolve(101) }).on('unexpected-response', (_request, { statusCode }) => { resolve(statusCode!) }).on('error', () => {})
    }, reject)
  })
  t.equal(await origin({}), 403, 'the page of another site')
  t.equal(await origin({ 'x-forwarded-host': 'team.example.com' }), 101, 'the page, through nginx')

  const states: string[] = []
  client.onConnectionState((state) => { states.push(state) })
  t.equal(await server.stop(), 0, 'a client was connected')
  t.match(states, ['reconnecting'])
})
