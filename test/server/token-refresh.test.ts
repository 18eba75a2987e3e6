import type { IncomingMessage } from 'node:http'
import t from 'tap'
import { Opcode } from '../../lib/protocol/opcodes.js'
import type { AuthResult } from '../../lib/server/context/connection-context.js'
import { getToken } from '../../plugins/server.js'
import { entrances } from '../helpers/entrances.js'
import { type Wire, connect, connectV1, refusal } from '../helpers/wire.js'

const { AUTH, AUTH_REFRESH, ERROR } = Opcode

/** A token says what the handler is to answer: for how long (`ms`) or until when (`at`) it holds, and for whom. */
interface Claims { user?: string, ms?: number, at?: number, roles?: string[], metadata?: Record<string, unknown>, no?: boolean, boom?: boolean, hang?: boolean, secret?: string }

const token = (claims: Claims): string => Buffer.from(JSON.stringify(claims)).toString('base64url')
const offer = (claims: Claims): string[] => ['datasole.v2', `datasole.token.${Buffer.from(token(claims)).toString('base64url')}`]

/** ms; the server asks at half of it. The other half leaves a process time that stands still for a second or two. */
const LIFETIME = 5000

/** Every request that the handler has had. */
function handler (seen: IncomingMessage[] = []): (req: IncomingMessage) => Promise<AuthResult> {
  return async (req) => {
    seen.push(req)
    const { user = 'ann', ms, at, no, boom, hang, roles, metadata } = JSON.parse(Buffer.from(getToken(req) ?? 'e30', 'base64url').toString()) as Claims
    if (boom === true) throw new Error('no database')
    if (hang === true) return await new Promise(() => {})
    if (no === true) return { authenticated: false }
    return { authenticated: true, userId: user, roles, metadata, expiresAt: ms === undefined ? at : Date.now() + ms }
  }
}

/** Waits until the server asks. */
const asked = async (wire: Wire): Promise<number> => (await wire.waitFor(({ opcode, id }) => opcode === AUTH_REFRESH && id === 0)).payload.expiresIn
const renew = (wire: Wire, claims: Claims): Promise<{ opcode: number, payload: any }> => wire.ask(AUTH, { token: token(claims) })

for (const [entrance, start] of entrances) {
  t.test(`token refresh, ${entrance}`, async (t) => {
    // these two count timers and turn the clock: nothing else may run
    await t.test('a jump of the wall clock neither ends nor prolongs what was accepted', async (t) => {
      const { connect } = await start(t, { authHandler: handler() })
      const stays = await connect({ protocols: offer({ ms: 60_000 }) })
      const ends = await connect({ protocols: offer({ ms: 1000 }) })
      await Promise.all([stays, ends].map((wire) => wire.ping()))
      const { now } = Date
      t.teardown(() => { Date.now = now })
      Date.now = () => now() - 3_600_000
      t.match(await ends.closed, { code: 4401 })
      Date.now = () => now() + 3_600_000
      await new Promise((resolve) => setTimeout(resolve, 100))
      t.same((await stays.call('echo', 1)).result, 1)
    })

    await t.test('two hundred connections wait on one timer', async (t) => {
      const { url, ds } = await start(t, { authHandler: handler() })
      const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
      // those of the test and of the first lease
      const first = await connect(url, { protocols: offer({ ms: 3_600_000 }) })
      await first.ping()
      const before = timers()
      const wires = await Promise.all(Array.from({ length: 200 }, (_, i) => connect(url, { protocols: offer({ ms: 3_600_000 - i }) })))
      await Promise.all(wires.map((wire) => wire.ping()))
      t.ok(timers() <= before + 5, `${before} timers, then ${timers()}`)
      t.equal(ds.transport.getConnectionCount(), 201)
      for (const wire of [first, ...wires]) wire.socket.terminate()
    })

    t.jobs = 10 // the others mostly wait
    t.test('the server asks at half of a short lifetime; a new token prolongs it, and what it says is on the connection', { buffered: true }, async (t) => {
      const seen: IncomingMessage[] = []
      const requests: unknown[] = []
      const answer = handler(seen)
      const { ds, url } = await start(t, { authHandler: (req, request) => { requests.push(request?.url); return answer(req) } })
      ds.rpc.register('who', (_, { auth, connection }) => ({ roles: auth?.roles, same: connection.roles, metadata: connection.metadata, userId: connection.userId }))
      const events: unknown[] = []
      ds.primitives.events.on('e', () => {})
      ds.addHook('preEvent', ({ auth }) => { events.push(auth?.roles) })
      let hold = (): void => {}
      const held = new Promise<void>((resolve) => { hold = resolve })
      ds.rpc.register('slow', async (_, ctx) => { await held; return { auth: ctx.auth?.roles, connection: ctx.connection.roles } })

      const started = performance.now()
      const wire = await connect(`${url}?a=1`, { protocols: offer({ ms: LIFETIME, roles: ['reader'] }), headers: { cookie: 'c=1', 'x-tenant': 'blue' } })
      t.same((await wire.call('who')).result, { roles: ['reader'], same: ['reader'], metadata: {}, userId: 'ann' })
      wire.send(Opcode.EVENT_C2S, 0, { event: 'e' })
      wire.send(Opcode.RPC_REQ, 7, { method: 'slow', correlationId: 7 })
      const expiresIn = await asked(wire)
      const waited = performance.now() - started
      t.ok(waited > LIFETIME / 2 - 10 && expiresIn > 0 && expiresIn <= LIFETIME / 2, `after ${waited} ms, ${expiresIn} are left`)
      const renewed = await renew(wire, { ms: 3_600_000, roles: ['admin'], metadata: { n: 1 } })
      t.equal(renewed.opcode, AUTH_REFRESH)
      t.ok(renewed.payload.expiresIn > 3_590_000 && renewed.payload.expiresIn <= 3_600_000, `${renewed.payload.expiresIn} ms`)
      t.same((await wire.call('who')).result, { roles: ['admin'], same: ['admin'], metadata: { n: 1 }, userId: 'ann' }, 'later calls see it')
      wire.send(Opcode.EVENT_C2S, 0, { event: 'e' })
      await wire.ping()
      hold()
      t.same((await wire.waitFor(({ id }) => id === 7)).payload.result, { auth: ['reader'], connection: ['admin'] }, 'a call keeps the auth that it began with')
      t.same(events, [['reader'], ['admin']])

      t.equal(seen.length, 2)
      t.strictSame(requests, ['/__ds?a=1', undefined], 'the request has ended by then')
      const [first, second] = seen
      t.match(second, { method: 'GET', url: '/__ds?a=1', headers: { cookie: 'c=1', 'x-tenant': 'blue', host: first!.headers.host, authorization: `Bearer ${token({ ms: 3_600_000, roles: ['admin'], metadata: { n: 1 } })}` } })
      t.equal(second!.socket.remoteAddress, '127.0.0.1')
      // the first lease would have ended by now
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, LIFETIME + 50 - (performance.now() - started))))
      t.same((await wire.call('echo', 1)).result, 1)
    })

    t.test('the old token is nowhere in the request that a handler gets for a new one', { buffered: true }, async (t) => {
      const seen: IncomingMessage[] = []
      const old = { ms: LIFETIME, secret: 'old' }
      const { url } = await start(t, { authHandler: handler(seen) })
      for (const open of [
        () => connect(url, { headers: { authorization: `Bearer ${token(old)}` } }),
        () => connect(url, { protocols: offer(old) }),
        () => connect(`${url}?x=1&token=${token(old)}&y=2`)
      ]) {
        const wire = await open()
        await asked(wire)
        t.match(await wire.ask(AUTH, { token: '' }), { opcode: AUTH_REFRESH, payload: { expiresIn: undefined } }, 'and an empty one is none')
        const { headers, url } = seen.pop()!
        const text = JSON.stringify([headers, url])
        for (const spelling of [token(old), Buffer.from(token(old)).toString('base64url'), 'authorization']) t.notOk(text.includes(spelling), `${spelling.slice(0, 15)} in ${text}`)
        await wire.close()
      }
    })

    t.test('without a new token the connection is closed with 4401, at the time', { buffered: true }, async (t) => {
      const { ds, connect } = await start(t, { authHandler: handler() })
      const left = new Promise<number>((resolve) => { ds.addHook('onDisconnect', (_, code) => { resolve(code) }) })
      const started = performance.now()
      const wire = await connect({ protocols: offer({ ms: LIFETIME }) })
      t.same(await wire.closed, { code: 4401, reason: 'authentication expired' })
      const took = performance.now() - started
      t.ok(took >= LIFETIME - 1 && took < LIFETIME + 10_000, `${took} ms`)
      t.equal(await left, 4401)
      t.equal(wire.received.filter(({ opcode }) => opcode === AUTH_REFRESH).length, 1)
    })

    t.test('a version 1 client is not asked, and closed with 4401 at the end', { buffered: true }, async (t) => {
      const { url } = await start(t, { authHandler: handler() })
      const client = await connectV1(`${url}?token=${token({ ms: 150 })}`)
      t.match(await client.wire.closed, { code: 4401 })
      t.same(client.complaints, [])
    })

    t.test('a token of another user, or of nobody, ends the connection', { buffered: true }, async (t) => {
      const { connect } = await start(t, { authHandler: handler() })
      const wire = await connect({ protocols: offer({ ms: LIFETIME }) })
      await asked(wire)
      wire.send(AUTH, 5, { token: token({ user: 'bob', ms: 10_000 }) })
      t.same(await wire.closed, { code: 4401, reason: 'the token belongs to another user' })
    })

    t.test('three tokens at most are tried each time, one after the other; more are bad frames', { buffered: true }, async (t) => {
      const seen: IncomingMessage[] = []
      const { connect, ds, logs } = await start(t, { authHandler: handler(seen), authTimeoutMs: 50, maxBadFrames: 3 })
      const wire = await connect({ protocols: offer({ ms: LIFETIME }) })
      t.match(await renew(wire, { ms: 5000 }), { opcode: ERROR, payload: { code: 'BAD_FRAME' } }, 'before it is asked')
      await asked(wire)
      t.match(await renew(wire, { no: true }), { opcode: ERROR, payload: { code: 'UNAUTHENTICATED' } })
      t.match(await renew(wire, { boom: true }), { opcode: ERROR, payload: { code: 'INTERNAL', message: 'authentication failed' } })
      const hanging = renew(wire, { hang: true })
      t.match(await renew(wire, { ms: 5000 }), { opcode: ERROR, payload: { code: 'BAD_FRAME' } }, 'while one is checked')
      t.match(await hanging, { opcode: ERROR, payload: { code: 'INTERNAL' } }, 'after authTimeoutMs')
      t.match(await renew(wire, { ms: 5000 }), { opcode: ERROR, payload: { code: 'BAD_FRAME' } }, 'the fourth')
      t.equal(seen.length, 4, 'the upgrade and three')
      t.equal(ds.metrics.snapshot().badFrames, 3)
      t.ok(logs.some((line) => line.includes('no database')))
      wire.send(AUTH, 9, { token: token({ ms: 5000 }) })
      t.match(await wire.closed, { code: 1002 })
    })

    t.test('a token that holds hardly longer prolongs nothing: sent again and again, it is tried three times', { buffered: true }, async (t) => {
      const seen: IncomingMessage[] = []
      const { connect } = await start(t, { authHandler: handler(seen) })
      const claims = { at: Date.now() + LIFETIME }
      const wire = await connect({ protocols: offer(claims) })
      await asked(wire)
      for (const more of [0, 20, -100]) t.match(await renew(wire, { at: claims.at + more }), { opcode: ERROR, payload: { code: 'UNAUTHENTICATED' } })
      t.match(await wire.closed, { code: 4401 })
      t.equal(seen.length, 4)
    })

    t.test('a token whose check outlives the old one comes too late', { buffered: true }, async (t) => {
      const { connect } = await start(t, { authHandler: handler() })
      const wire = await connect({ protocols: offer({ ms: LIFETIME }) })
      await asked(wire)
      wire.send(AUTH, 5, { token: token({ hang: true }) })
      t.match(await wire.closed, { code: 4401, reason: 'authentication expired' })
    })

    t.test('AUTH where nothing expires, without a token, or with one that is too long', { buffered: true }, async (t) => {
      const { connect } = await start(t, { authHandler: handler() })
      const wire = await connect()
      for (const payload of [{ token: 'x' }, {}, { token: 5 }, null, { token: 'x'.repeat(16_385) }, { token: 'x'.repeat(70_000) }]) {
        t.match(await wire.ask(AUTH, payload), { opcode: ERROR, payload: { code: 'BAD_FRAME' } })
      }
    })

    t.test('expired already: 401; in seconds, or no number: 500, and the log says why', { buffered: true }, async (t) => {
      let expiresAt: unknown
      const { url, logs, connect } = await start(t, { authHandler: () => ({ authenticated: true, expiresAt: expiresAt as number }) })
      for (expiresAt of [Date.now() - 1, Date.now() - 3_600_000]) t.equal((await refusal(url)).status, 401)
      for (expiresAt of [Math.floor(Date.now() / 1000) + 3600, 0, -1, NaN, new Date(), '2100-01-01', null]) t.equal((await refusal(url)).status, 500, String(expiresAt))
      t.ok(logs.some((line) => line.includes('Unix time in ms, not s')))
      for (expiresAt of [undefined, Infinity, Date.now() + 1000 * 365 * 86_400_000]) t.same((await (await connect()).call('echo', 1)).result, 1, String(expiresAt))
    })

    t.test('no token in any log line', { buffered: true }, async (t) => {
      const { connect, logs } = await start(t, { authHandler: handler(), authTimeoutMs: 30 })
      const secret = 'SECRET'
      const wire = await connect({ protocols: offer({ ms: LIFETIME, secret }) })
      await asked(wire)
      await renew(wire, { no: true, secret })
      await renew(wire, { boom: true, secret })
      await renew(wire, { hang: true, secret })
      wire.send(AUTH, 1, { token: token({ secret }), more: 1 })
      wire.sendRaw(Buffer.concat([Buffer.from([AUTH, 0, 0, 0, 1, 0, 0, 0, 9]), Buffer.from(`{"${secret}`)]))
      await wire.closed
      t.ok(logs.length > 0)
      for (const spelling of [secret, token({ secret }), token({ boom: true, secret }), token({ hang: true, secret }), token({ no: true, secret })]) t.same(logs.filter((line) => line.includes(spelling)), [])
    })
  })
}
