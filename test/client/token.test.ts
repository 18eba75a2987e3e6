import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import type { DatasoleClientOptions } from '../../lib/client/client.js'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { AuthResult } from '../../lib/server/context/connection-context.js'
import { getToken } from '../../plugins/server.js'
import { entrances } from '../helpers/entrances.js'
import { type Watched, dial, watch } from './dialled.js'
import { type Listening, type Peer, listen } from './peer.js'
import { until } from '../helpers/until.js'

const { AUTH, AUTH_REFRESH, ERROR } = Opcode

/** ms; a token is renewed at half of it. */
const LIFETIME = 4000

t.jobs = 2 // those that wait for it

/** The token that a handshake carried. */
const tokenOf = ({ offered }: Peer): string | undefined => {
  const offer = offered.find((name) => name.startsWith('datasole.token.'))
  return offer && Buffer.from(offer.slice('datasole.token.'.length), 'base64url').toString()
}

/** Gives t1, t2, t3 … */
function numbered (): (() => string) & { count: number } {
  const getToken = Object.assign(() => `t${++getToken.count}`, { count: 0 })
  return getToken
}

async function dialWith (t: Parameters<typeof dial>[0], options: DatasoleClientOptions): Promise<Watched & { server: Listening, peer: Peer }> {
  return await dial(t, options)
}

t.test('getToken is asked for each connection', async (t) => {
  const getToken = numbered()
  const { peer, server, client, errors } = await dialWith(t, { getToken: async () => getToken() })
  t.equal(tokenOf(peer), 't1')
  t.strictSame(peer.offered.slice(0, 2), ['datasole.v3', 'datasole.v2'])
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  t.equal(tokenOf(again), 't2')
  await client.disconnect()
  const connected = client.connect()
  t.equal(tokenOf((await server.accept()).welcome()), 't3')
  await connected
  t.strictSame(errors, [])
})

t.test('an empty token is none', async (t) => {
  const { peer } = await dialWith(t, { getToken: () => '' })
  t.strictSame(peer.offered, ['datasole.v3', 'datasole.v2'])
})

t.test('a getToken that fails is asked again, with backoff, and as often as it may', async (t) => {
  const answers: Array<() => unknown> = [() => { throw new Error('no network') }, () => Promise.reject(new Error('no session')), () => 5, () => 'good']
  const server = await listen(t)
  const { client, causes } = watch(t, { url: server.url, getToken: () => answers.shift()!() as string })
  const connected = client.connect()
  const peer = (await server.accept()).welcome()
  await connected
  t.equal(tokenOf(peer), 'good')
  t.match(causes[1], { code: 'CONNECT_FAILED', message: /getToken failed: no network/ })
  t.equal(server.count(), 1)

  const other = watch(t, { url: server.url, maxReconnectAttempts: 2, getToken: () => { throw new Error('never') } })
  await t.rejects(other.client.connect(), { code: 'CONNECT_FAILED', message: /never/ })
  t.equal(server.count(), 1)
})

t.test('it answers AUTH_REFRESH with a new token', async (t) => {
  const getToken = numbered()
  const { peer, client, errors } = await dialWith(t, { getToken })
  for (const expected of ['t2', 't3']) {
    peer.send(AUTH_REFRESH, 0, { expiresIn: 60_000 })
    const { id, payload } = await peer.next(AUTH)
    t.not(id, 0)
    t.strictSame(payload, { token: expected })
    peer.send(AUTH_REFRESH, id, { expiresIn: 60_000 })
  }
  const answer = client.rpc('x')
  peer.result(await peer.next(Opcode.RPC_REQ), 1)
  t.equal(await answer, 1)
  t.equal(getToken.count, 3)
  t.strictSame(errors, [])
})

t.test('a refused token is followed by a fresh one, three in all, and each refusal is told', async (t) => {
  let calls = 0
  const { peer, errors, until } = await dialWith(t, { getToken: () => { if (++calls === 3) throw new Error('offline'); return `t${calls}` } })
  peer.send(AUTH_REFRESH, 0, { expiresIn: 80 })
  const first = await peer.next(AUTH)
  t.strictSame(first.payload, { token: 't2' })
  peer.send(ERROR, first.id, { code: 'UNAUTHENTICATED', message: 'not authenticated' })
  const third = await peer.next(AUTH)
  t.strictSame(third.payload, { token: 't4' })
  peer.send(ERROR, third.id, { code: 'INTERNAL', message: 'authentication failed' })
  await until(() => errors.length === 3)
  t.match(errors, [{ code: 'UNAUTHENTICATED' }, { code: 'TOKEN_FAILED', message: /offline/ }, { code: 'INTERNAL' }])
  await new Promise((resolve) => setTimeout(resolve, 60))
  t.equal(calls, 4, 'then it waits for what the server does')
  t.notOk(peer.received.some(({ opcode }) => opcode === AUTH))
})

t.test('a client without getToken does not answer', async (t) => {
  const { peer, client, errors } = await dialWith(t, { auth: { token: 't' } })
  peer.send(AUTH_REFRESH, 0, { expiresIn: 1000 })
  const answer = client.rpc('x')
  const call = await peer.next(Opcode.RPC_REQ)
  t.strictSame(peer.received, [])
  peer.result(call, 1)
  await answer
  t.strictSame(errors, [])
})

t.test('a token that was meant for one connection is not sent on the next', async (t) => {
  let give = (_token: string): void => {}
  let hangs = (): void => {}
  const isHanging = new Promise<void>((resolve) => { hangs = resolve })
  let calls = 0
  const { peer, server } = await dialWith(t, {
    getToken: () => {
      if (++calls !== 2) return `t${calls}`
      hangs()
      return new Promise<string>((resolve) => { give = resolve })
    }
  })
  peer.send(AUTH_REFRESH, 0, { expiresIn: 60_000 })
  await isHanging
  peer.socket.terminate()
  const again = (await server.accept()).welcome()
  t.equal(tokenOf(again), 't3')
  give('late')
  again.send(AUTH_REFRESH, 0, { expiresIn: 60_000 })
  t.strictSame((await again.next(AUTH)).payload, { token: 't4' })
})

t.test('after 4401 it comes back once with a fresh token', async (t) => {
  const getToken = numbered()
  const { peer, server, client, states, errors, causes } = await dialWith(t, { getToken })
  peer.socket.close(4401, 'authentication expired')
  const again = (await server.accept()).welcome()
  t.equal(tokenOf(again), 't2')
  await client.connect()
  t.strictSame(states, ['connecting', 'connected', 'reconnecting', 'connected'])
  t.match(causes[2], { code: 'AUTH_EXPIRED' })
  t.strictSame(errors, [])
})

t.test('token: a second 4401 soon after is final', async (t) => {
  const { peer, server, client, errors, until } = await dialWith(t, { getToken: numbered() })
  peer.socket.close(4401, 'expired')
  ;(await server.accept()).welcome().socket.close(4401, 'banned')
  await until(() => client.getConnectionState() === 'disconnected')
  t.match(errors, [{ code: 'AUTH_EXPIRED', message: /banned/ }])
  t.equal(server.count(), 2)
})

t.test('and so is a refused upgrade; but not a getToken that failed', async (t) => {
  const { server, peer, client, errors, until } = await dialWith(t, { webSocket: WebSocket, getToken: (() => { let calls = 0; return () => { if (++calls === 2) throw new Error('offline'); return `t${calls}` } })() })
  server.wss.options.verifyClient = (_info: unknown, done: (ok: boolean, code: number) => void) => { done(false, 401) }
  peer.socket.close(4401)
  await until(() => client.getConnectionState() === 'disconnected')
  t.match(errors, [{ code: 'AUTH_EXPIRED', message: /401/ }])
  // and connect() starts anew
  server.wss.options.verifyClient = undefined
  const connected = client.connect()
  t.equal(tokenOf((await server.accept()).welcome()), 't4')
  await connected
})

t.test('token: a loss after the comeback is like any other', async (t) => {
  const { peer, server, client, states } = await dialWith(t, { getToken: numbered() })
  peer.socket.close(4401)
  ;(await server.accept()).welcome().socket.terminate()
  ;(await server.accept()).socket.close(1011)
  ;(await server.accept()).welcome()
  await client.connect()
  t.equal(states.at(-1), 'connected')
})

t.test('with reconnect: false, 4401 is the end', async (t) => {
  const { peer, server, client, until } = await dialWith(t, { getToken: numbered(), reconnect: false })
  peer.socket.close(4401)
  await until(() => client.getConnectionState() === 'disconnected')
  t.equal(server.count(), 1)
})

t.test('an upgrade that is refused for an expired token is tried with a fresh one', async (t) => {
  const tokens: string[] = []
  const http = createServer((_request, response) => { response.writeHead(401).end() }).listen(0, '127.0.0.1')
  t.teardown(() => { http.close(); http.closeAllConnections() })
  await once(http, 'listening')
  const getToken = numbered()
  http.on('upgrade', (request, socket) => {
    tokens.push(request.headers['sec-websocket-protocol']!.split('.').at(-1)!)
    socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
  })
  const { client } = watch(t, { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`, getToken, maxReconnectAttempts: 3 })
  await t.rejects(client.connect(), { code: 'CONNECT_FAILED' })
  // the WebSocket of Node.js 24 asks twice before it believes a 401
  t.strictSame(Array.from(new Set(tokens), (token) => Buffer.from(token, 'base64url').toString()), ['t1', 't2', 't3', 't4'])
})

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: a client outlives its tokens`, { buffered: true }, async (t) => {
    const seen: string[] = []
    const { ds, url } = await start(t, {
      authHandler: (req): AuthResult => {
        const token = getToken(req)!
        seen.push(token)
        return { authenticated: true, userId: 'ann', roles: [token], expiresAt: Date.now() + LIFETIME }
      }
    })
    ds.rpc.register('roles', (_params, { auth }) => auth?.roles)
    let left = 0
    ds.addHook('onDisconnect', () => { left++ })
    const { client, states, errors } = watch(t, { url, getToken: numbered() })
    await client.connect()
    t.strictSame(await client.rpc('roles'), ['t1'])
    const started = performance.now()
    await until(() => seen.length >= 4)
    t.ok(performance.now() - started > LIFETIME, 'longer than any token')
    t.match(await client.rpc('roles'), [/^t[456]$/])
    t.strictSame(states, ['connecting', 'connected'])
    t.equal(left, 0)
    t.strictSame(errors, [])
  })

  t.test(`${entrance}: one with a fixed token is ended by its expiry`, async (t) => {
    const { url } = await start(t, { authHandler: () => ({ authenticated: true, userId: 'ann', expiresAt: Date.now() + 1500 }) })
    const { client, errors, until } = watch(t, { url, auth: { token: 't' } })
    await client.connect()
    await until(() => client.getConnectionState() === 'disconnected')
    t.match(errors, [{ code: 'AUTH_EXPIRED', message: /authentication expired/ }])
  })

  t.test(`${entrance}: a user who is disconnected and let in no more`, async (t) => {
    let isBanned = false
    const { ds, url } = await start(t, { authHandler: () => ({ authenticated: !isBanned, userId: 'ann' }) })
    // of ws, which tells that an upgrade was refused with 401
    const { client, errors, until } = watch(t, { url, webSocket: WebSocket, getToken: numbered() })
    await client.connect()
    isBanned = true
    ds.disconnectUser('ann')
    await until(() => client.getConnectionState() === 'disconnected')
    t.match(errors, [{ code: 'AUTH_EXPIRED' }])
    t.equal(ds.metrics.snapshot().upgradesRefused, 1)
  })
}
