import type { IncomingMessage } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { AuthResult } from '../../lib/server/context/connection-context.js'
import { getToken } from '../../plugins/server.js'
import { entrances } from '../helpers/entrances.js'
import { exchange, tcp, upgradeRequest, webSocketFrame } from '../helpers/raw.js'
import { connect, encode, refusal } from '../helpers/wire.js'
import { until } from '../helpers/until.js'

const SECRET = 'SECRET-ümlaut/+token'
const ENCODED = encodeURIComponent(SECRET)
const SUBPROTOCOL = `datasole.token.${Buffer.from(SECRET).toString('base64url')}`

t.test('getToken: header, subprotocol, query, then the cookie that is named', async (t) => {
  const from = (headers: IncomingMessage['headers'], options?: { cookie?: string }, url = '/__ds'): string | undefined => getToken({ headers, url }, options)
  const session = { cookie: 'session' }
  t.equal(from({ cookie: 'session=abc' }), undefined, 'only where it is named')
  for (const [cookie, token] of [
    ['session=abc', 'abc'], ['a=1; session=abc; b=2', 'abc'], ['a=1;session=abc', 'abc'], ['session=a%20b', 'a b'], ['session=100%', '100%'],
    ['session="a b"', 'a b'], ['session=a=b==', 'a=b=='], ['session=first; session=second', 'first'],
    ['session=', undefined], ['session', undefined], ['xsession=abc', undefined], ['Session=abc', undefined], ['a="session=abc"', undefined], ['', undefined]
  ] as const) t.equal(from({ cookie }, session), token, cookie)
  const cookie = 'session=cookie'
  t.equal(from({ cookie, authorization: 'Bearer header', 'sec-websocket-protocol': SUBPROTOCOL }, session, '/?token=query'), 'header')
  t.equal(from({ cookie, 'sec-websocket-protocol': SUBPROTOCOL }, session, '/?token=query'), SECRET)
  t.equal(from({ cookie }, session, '/?token=query'), 'query')
  t.equal(from({ cookie }, session, '/?token='), 'cookie')
  t.equal(from({ cookie, authorization: 'Basic abc' }, session), 'cookie')
})

for (const [entrance, start] of entrances) {
  t.test(`auth, ${entrance}`, async (t) => {
    t.test('without a handler everyone comes in, with the remote address as userId', async (t) => {
      const { connect } = await start(t)
      const wire = await connect({ localAddress: '127.0.0.3' })
      t.match((await wire.next()).payload, { protocol: 3, userId: '127.0.0.3', connectionId: String })
    })

    t.test('what the handler returns is on the connection', async (t) => {
      const auth = { authenticated: true, userId: 'u1', roles: ['admin'], metadata: { name: 'Ann' } }
      const { connect, ds } = await start(t, { authHandler: async () => auth })
      ds.rpc.register('who', (_, { auth, connection, connectionId }) => ({ auth, userId: connection.userId, roles: connection.roles, metadata: connection.metadata, same: connectionId === connection.connectionId }))
      const wire = await connect()
      t.match((await wire.next()).payload, { userId: 'u1' })
      t.same((await wire.call('who')).result, { auth, userId: 'u1', roles: ['admin'], metadata: { name: 'Ann' }, same: true })
    })

    t.test('the handler gets Fastify\'s request of the upgrade as well', async (t) => {
      const seen: unknown[] = []
      const { url } = await start(t, {
        authHandler: async (req, request) => {
          seen.push(request?.raw === req, request?.query, request?.ip, request?.headers.authorization)
          return { authenticated: true }
        }
      })
      const wire = await connect(`${url}?a=1`, { headers: { authorization: 'Bearer x' } })
      wire.socket.terminate()
      t.same(seen, [true, { a: '1' }, '127.0.0.1', 'Bearer x'])
    })

    t.test('a handler that gives no userId gives none', async (t) => {
      const { connect } = await start(t, { authHandler: () => ({ authenticated: true }) })
      const wire = await connect()
      t.notOk('userId' in (await wire.next()).payload)
    })

    t.test('the token, wherever it came from, is where the handler looks', async (t) => {
      const seen: Array<{ authorization?: string, token?: string, url?: string }> = []
      const { url, connect: connectHere } = await start(t, {
        authHandler: async (req: IncomingMessage) => {
          seen.push({ authorization: req.headers.authorization, token: getToken(req), url: req.url })
          return { authenticated: true }
        }
      })
      const expected = { authorization: `Bearer ${SECRET}`, token: SECRET }
      await (await connect(`${url}?a=1&token=${ENCODED}`)).close()
      t.match(seen.pop(), { ...expected, url: `/__ds?a=1&token=${ENCODED}` }, 'query; the url is as it came')
      await (await connectHere({ protocols: ['datasole.v2', SUBPROTOCOL] })).close()
      t.match(seen.pop(), expected, 'subprotocol')
      await (await connectHere({ protocols: [SUBPROTOCOL, 'datasole.v2'] })).close()
      t.match(seen.pop(), expected, 'subprotocol first')
      await (await connectHere({ headers: { authorization: 'Bearer plain' } })).close()
      t.match(seen.pop(), { authorization: 'Bearer plain', token: 'plain' }, 'header')
      await (await connect(`${url}?token=query`, { headers: { authorization: 'Bearer plain' }, protocols: ['datasole.v2', SUBPROTOCOL] })).close()
      t.match(seen.pop(), { authorization: 'Bearer plain', token: 'plain' }, 'the header goes first')
      await (await connect(`${url}?token=query`, { headers: { authorization: 'Basic abc' } })).close()
      t.match(seen.pop(), { authorization: 'Basic abc', token: 'query' }, 'a header that was sent stays')
      await (await connectHere()).close()
      t.same(seen.pop(), { authorization: undefined, token: undefined, url: '/__ds' })
      await (await connect(`${url}?token=`)).close()
      t.notOk(seen.pop()!.token, 'empty is none')
    })

    t.test('401 where the handler says no, to every version', async (t) => {
      const { url, ds } = await start(t, { authHandler: () => ({ authenticated: false, userId: 'u' }) })
      t.equal((await refusal(url)).status, 401)
      t.equal((await refusal(url, { protocols: [] })).status, 401)
      t.match(ds.metrics.snapshot(), { upgradesRefused: 2, connections: 0 })
    })

    t.test('500 where the handler throws, rejects, or answers with rubbish; the cause is in the log only', async (t) => {
      const answers: Array<[string, () => unknown]> = [
        ['throws', () => { throw new Error('secret cause') }],
        ['rejects', () => Promise.reject(new Error('secret cause'))],
        // eslint-disable-next-line no-throw-literal -- handlers may
        ['throws undefined', () => { throw undefined }],
        ['nothing', () => undefined],
        ['null', async () => null],
        ['true', () => true],
        ['a string', () => 'secret cause'],
        ['authenticated as text', () => ({ authenticated: 'true' })],
        ['a userId that is a number', () => ({ authenticated: true, userId: 5 })],
        ['a userId that is null', () => ({ authenticated: true, userId: null })],
        ['roles as text', () => ({ authenticated: true, roles: 'admin' })],
        ['metadata as text', () => ({ authenticated: true, metadata: 'x' })]
      ]
      for (const [name, answer] of answers) {
        const { url, logs, ds } = await start(t, { authHandler: answer as () => AuthResult })
        const { status, body } = await refusal(url)
        t.equal(status, 500, name)
        t.notMatch(body, 'secret cause')
        t.ok(logs.some((line) => line.includes('authHandler') && line.includes('"level":50')), 'logged as an error')
        t.equal(ds.metrics.snapshot().upgradesRefused, 1)
      }
    })

    t.test('500 where the handler never answers, after authTimeoutMs, and its place is given back', async (t) => {
      let hang = true
      const { url } = await start(t, { maxConnections: 1, authTimeoutMs: 50, authHandler: () => hang ? new Promise(() => {}) : { authenticated: true } })
      t.equal((await refusal(url)).status, 500)
      hang = false
      const wire = await until(() => connect(url).catch((error: Error) => { t.match(error.message, '503') }))
      await wire!.close()
    })

    t.test('what a client sends before it is authenticated waits', async (t) => {
      const { port, ds } = await start(t, { authHandler: async () => { await setTimeout(20); return { authenticated: true } } })
      const noted = new Promise((resolve) => { ds.rpc.register('note', resolve) })
      const socket = await tcp(port)
      socket.write(upgradeRequest('/__ds'))
      socket.write(webSocketFrame(encode(Opcode.RPC_REQ, 1, { method: 'note', params: 'early', correlationId: 1 })))
      t.equal(await noted, 'early')
      socket.destroy()
    })

    t.test('disconnectUser closes every connection of a user, with 4401', async (t) => {
      const { url, ds } = await start(t, { authHandler: async (req) => ({ authenticated: true, userId: getToken(req) }) })
      const [a1, a2, b] = await Promise.all(['a', 'a', 'b'].map((token) => connect(`${url}?token=${token}`)))
      ds.disconnectUser('a')
      t.match(await a1!.closed, { code: 4401 })
      t.match(await a2!.closed, { code: 4401 })
      t.same((await b!.call('echo', 1)).result, 1)
      // what a close frame cannot carry is refused, and nobody is left half closed
      for (const wrong of [{ code: 99 }, { code: 1006 }, { code: 5000 }, { code: 4000.5 }, { reason: 'x'.repeat(124) }]) {
        t.throws(() => { ds.disconnectUser('b', wrong) }, { code: 'INVALID_CLOSE' }, JSON.stringify(wrong).slice(0, 30))
      }
      t.same((await b!.call('echo', 2)).result, 2)
      ds.disconnectUser('b', { code: 4000, reason: 'moved' })
      t.same(await b!.closed, { code: 4000, reason: 'moved' })
    })

    t.test('a user stays one, whatever becomes of what the handler returned', async (t) => {
      const auth = { authenticated: true, userId: 'a' }
      const { connect, ds } = await start(t, { authHandler: () => auth })
      ds.rpc.register('who', (_, { connection }) => connection.userId)
      const left = new Promise<unknown>((resolve) => { ds.addHook('onDisconnect', ({ userId }) => { resolve(userId) }) })
      const wire = await connect()
      auth.userId = 'b'
      t.equal((await wire.call('who')).result, 'a')
      ds.disconnectUser('a')
      t.match(await wire.closed, { code: 4401 })
      t.equal(await left, 'a')
    })

    t.test('who is disconnected while being authenticated is not missed', async (t) => {
      const waiting = new Map<string, () => void>()
      const hold = (where: string): Promise<void> => new Promise((resolve) => { waiting.set(where, resolve) })
      const reached = async (where: string): Promise<void> => { await until(() => waiting.has(where)) }
      const { connect, ds } = await start(t, { authHandler: async (req) => { await hold(`auth ${getToken(req)}`); return { authenticated: true, userId: getToken(req) } } })
      ds.addHook('onConnect', (connection) => hold(`hook ${connection.userId}`))
      const left: Array<[string | undefined, number]> = []
      let gone = (): void => {}
      const allGone = new Promise<void>((resolve) => { gone = resolve })
      ds.addHook('onDisconnect', ({ userId }, code) => { if (left.push([userId, code]) === 2) gone() })
      const as = (user: string): ReturnType<typeof connect> => connect({ headers: { authorization: `Bearer ${user}` } })
      const [inHandler, inHook, other] = [as('ann'), as('bob'), as('eve')]
      await reached('auth ann')
      for (const user of ['bob', 'eve']) { await reached(`auth ${user}`); waiting.get(`auth ${user}`)!(); await reached(`hook ${user}`) }
      ds.disconnectUser('ann')
      ds.disconnectUser('bob', { code: 4000, reason: 'moved' })
      waiting.get('auth ann')!()
      await reached('hook ann')
      for (const user of ['ann', 'bob', 'eve']) waiting.get(`hook ${user}`)!()
      t.match(await (await inHandler).closed, { code: 4401 })
      t.same(await (await inHook).closed, { code: 4000, reason: 'moved' })
      t.same((await (await other).call('echo', 1)).result, 1)
      await allGone
      t.same(left.sort(), [['ann', 4401], ['bob', 4000]])
      // whoever comes later has an answer of the handler's that is newer
      waiting.clear()
      const later = as('ann')
      await reached('auth ann')
      waiting.get('auth ann')!()
      await reached('hook ann')
      waiting.get('hook ann')!()
      t.same((await (await later).call('echo', 1)).result, 1)
    })

    t.test('no token in any log line', async (t) => {
      const query = `token=${ENCODED}`
      const answers: Array<() => unknown> = [
        () => ({ authenticated: true, userId: 'u' }),
        () => ({ authenticated: false }),
        () => { throw new Error('no') },
        () => new Promise(() => {}),
        () => 'rubbish'
      ]
      for (const answer of answers) {
        const { logs, url, port, ds } = await start(t, { authTimeoutMs: 30, authHandler: answer as () => AuthResult })
        for (const target of [`${url}?${query}`, `${url}?a=b&${query}&c=d`, `${url}?%74oken=${ENCODED}`, `${url}?TOKEN=${ENCODED}&${query}`]) {
          const wire = await connect(target).catch(() => {}) // refused
          if (wire === undefined) continue
          wire.sendRaw('text')
          wire.sendRaw(Buffer.from('garbage'))
          await wire.call('nothing', { a: 1 })
          wire.socket.terminate()
        }
        await connect(url, { protocols: ['datasole.v2', SUBPROTOCOL] }).then((wire) => wire.close(), () => {}) // refused
        await connect(url, { headers: { authorization: `Bearer ${SECRET.replace('ü', 'u')}` } }).then((wire) => wire.close(), () => {}) // refused
        await refusal(`${url}?${query}`, { origin: 'http://a.example' })
        ds.addHook('onConnect', () => { throw new Error('not you') })
        await refusal(`${url}?${query}`)
        // no upgrade; another method; a path that is nearly ours; a handshake that is broken; not HTTP
        for (const request of [
          `GET /__ds?${query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
          `HEAD /__ds?${query} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
          upgradeRequest(`/__ds?${query}`, { 'Sec-WebSocket-Key': 'x' }),
          upgradeRequest(`/__ds?${query}`, { Host: '[' }),
          upgradeRequest(`/__ds/?${query}`),
          upgradeRequest(`//__ds?${query}`),
          upgradeRequest(`/__ds?${query}`).replace('GET', 'POST'),
          `GET /__ds?${query} HTTP/9.9\r\n\r\n`
        ]) {
          await exchange(port, request)
        }
        // and one that resets while it is authenticated
        const socket = await tcp(port)
        socket.write(upgradeRequest(`/__ds?${query}`))
        await new Promise((resolve) => setImmediate(resolve))
        socket.resetAndDestroy()
        await setTimeout(50)
        t.ok(logs.length > 0)
        for (const spelling of ['SECRET', ENCODED, SUBPROTOCOL.slice(15), SUBPROTOCOL.slice(15, 25)]) {
          t.same(logs.filter((line) => line.includes(spelling)), [], `no ${spelling}`)
        }
      }
    })
  })
}
