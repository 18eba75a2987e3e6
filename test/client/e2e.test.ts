import t from 'tap'
import type { DatasoleContract, DeepReadonly } from '../../lib/client/client.js'
import { CloseCode } from '../../lib/protocol/codes.js'
import { entrances } from '../helpers/entrances.js'
import { watch } from './dialled.js'

interface Board { n: number, list: string[] }

interface AppContract extends DatasoleContract {
  rpc: {
    echo: { params: unknown, result: unknown }
    wait: { params: undefined, result: string }
    fail: { params: undefined, result: never }
    whoami: { params: undefined, result: string | undefined }
  }
  events: { chat: { text: string } }
  state: { board: Board, secret: number }
}

/** Until `read` gives what is wanted; looks again whenever `subscribe` tells of something new. */
async function seen<T> (subscribe: (look: () => void) => () => void, read: () => T, isIt: (value: T) => boolean): Promise<T> {
  let end = (): void => {}
  await new Promise<void>((resolve) => {
    const look = (): void => { if (isIt(read())) resolve() }
    end = subscribe(look)
    look()
  })
  end()
  return read()
}

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: calls`, async (t) => {
    const { ds, url } = await start(t, { authHandler: async (req) => ({ authenticated: true, userId: req.headers.authorization }) })
    let aborted = (): void => {}
    const wasAborted = new Promise<void>((resolve) => { aborted = resolve })
    ds.rpc.register('wait', (_params, { signal }) => new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        aborted()
        resolve('stopped')
      })
    }))
    ds.rpc.register('fail', () => { throw Object.assign(new Error('no'), { code: 7, data: { why: 'so' } }) })
    ds.rpc.register('whoami', (_params, { auth }) => auth?.userId)
    const { client } = watch<AppContract>(t, { url, auth: { token: 'tökén' } })
    await client.connect()
    t.match(client.connectionId, /./)
    t.equal(await client.rpc('whoami'), 'Bearer tökén')
    const value = { text: 'x'.repeat(5000), list: [1, null, 'ü𝄞'], ['__proto__']: 1 }
    t.equal(JSON.stringify(await client.rpc('echo', value)), JSON.stringify(value))
    await t.rejects(client.rpc('fail'), { name: 'RpcError', code: 7, message: 'no', data: { why: 'so' } })
    await t.rejects(client.rpc('nothing' as 'echo'), { code: -32601 })
    const controller = new AbortController()
    const answer = client.rpc('wait', undefined, { signal: controller.signal })
    await client.rpc('echo') // the call has arrived
    controller.abort()
    await t.rejects(answer, { name: 'AbortError' })
    await wasAborted
    const large = client.rpc('echo', Array.from({ length: 250_000 }, () => Math.random()).join(''))
    await t.rejects(large, { code: 'PAYLOAD_TOO_LARGE' })
    t.ok(await client.rpc('whoami'), 'and the connection stays')
  })

  t.test(`${entrance}: what limits refuse is heard`, async (t) => {
    const rule = { windowMs: 60_000, maxRequests: 100 }
    const { ds, url } = await start(t, { maxSubscriptions: 3, rateLimit: { defaultRule: rule, rules: { $subscribe: { windowMs: 60_000, maxRequests: 5 } } } })
    let arrived = 0
    ds.primitives.events.on('n', () => { arrived++ })
    const { client, errors, until } = watch(t, { url })
    const connected = client.connect()
    for (let i = 0; i < 150; i++) t.ok(client.emit('n', i))
    for (let i = 0; i < 6; i++) client.subscribeState(`key ${i}`, () => {})
    await connected
    await until(() => errors.length === 50 + 3)
    t.equal(arrived, 100)
    const codes = (errors as Array<{ code: string, message: string }>).map(({ code, message }) => `${code} ${/"(.+?)"/.exec(message)?.[1]}`)
    t.equal(codes.filter((code) => code === 'RATE_LIMITED n').length, 50)
    t.strictSame(codes.filter((code) => code !== 'RATE_LIMITED n'), ['LIMIT_EXCEEDED key 3', 'LIMIT_EXCEEDED key 4', 'RATE_LIMITED key 5'])
  })

  t.test(`${entrance}: events in both directions`, async (t) => {
    const { ds, url } = await start(t)
    const { client } = watch<AppContract>(t, { url })
    await client.connect()
    const heard = new Promise((resolve) => { ds.primitives.events.on('chat', ({ event, data }) => { resolve([event, data]) }) })
    t.equal(client.emit('chat', { text: 'up' }), true)
    t.strictSame(await heard, ['chat', { text: 'up' }])
    const answer = new Promise<unknown>((resolve) => { client.on('chat', resolve) })
    ds.primitives.fanout.broadcast('chat', { text: 'down' })
    t.match(await answer, { event: 'chat', data: { text: 'down' }, timestamp: Number })
  })

  t.test(`${entrance}: live state, through a lost connection and a deletion`, async (t) => {
    const { ds, url } = await start(t)
    const { client, errors, until, states } = watch<AppContract>(t, { url })
    await client.connect()
    const told: unknown[] = []
    const board = (isIt: (value: DeepReadonly<Board> | undefined) => boolean) =>
      seen((look) => client.subscribeState('board', look), () => client.getState('board'), isIt)
    client.subscribeState('board', (value, { version }) => { told.push([value, version]) })
    const whenEmpty = new Promise<void>((resolve) => { client.subscribeState('board', () => { resolve() }) })
    await whenEmpty
    t.strictSame(told, [[undefined, 0]], 'before it has a value')
    await ds.primitives.live.setState('board', { n: 1, list: ['a'] })
    await board((value) => value?.n === 1)
    await ds.primitives.live.update('board', (draft) => {
      (draft as Board).n = 2
      ;(draft as Board).list.push('b')
    })
    const second = await board((value) => value?.n === 2)
    t.strictSame(second, { n: 2, list: ['a', 'b'] })
    t.strictSame(told, [[undefined, 0], [{ n: 1, list: ['a'] }, 1], [{ n: 2, list: ['a', 'b'] }, 2]])
    const before = told.length
    await ds.disconnectUser('127.0.0.1', { code: CloseCode.GOING_AWAY })
    await until(() => states.includes('reconnecting'))
    await ds.primitives.live.update('board', (draft) => { (draft as Board).n = 3 })
    const third = await board((value) => value?.n === 3)
    t.equal(told.length, before + 1)
    t.equal(third?.list, second?.list, 'recovered by the patch, not by a snapshot')
    t.strictSame(second, { n: 2, list: ['a', 'b'] }, 'what somebody kept has not changed')
    await ds.primitives.live.deleteState('board')
    await board((value) => value === undefined)
    t.strictSame(errors, [])
  })

  t.test(`${entrance}: a refused subscription`, async (t) => {
    const { ds, url } = await start(t)
    await ds.primitives.live.setState('secret', 7)
    ds.addHook('preSubscribe', (_ctx, { key }) => { if (key === 'secret') throw new Error('not for you') })
    const { client } = watch<AppContract>(t, { url })
    await client.connect()
    const refusal = await new Promise<Error>((resolve) => {
      client.subscribeState('secret', () => { t.fail('it was not refused') }, { onError: resolve })
    })
    t.match(refusal, { code: 'FORBIDDEN', message: /not for you/ })
  })

  t.test(`${entrance}: a revoked user, and a server that closes`, async (t) => {
    const { ds, url, close } = await start(t)
    const revoked = watch<AppContract>(t, { url })
    await revoked.client.connect()
    await ds.disconnectUser('127.0.0.1', { code: CloseCode.AUTH_EXPIRED, reason: 'logged out' })
    await revoked.until(() => revoked.client.getConnectionState() === 'disconnected')
    t.match(revoked.errors, [{ code: 'AUTH_EXPIRED', message: /logged out/ }])
    const { client, until } = watch<AppContract>(t, { url, maxReconnectAttempts: 1 })
    await client.connect()
    const closing = close()
    await until(() => client.getConnectionState() === 'disconnected')
    await closing
    await t.rejects(client.connect(), { code: 'CONNECT_FAILED' })
  })
}

for (const [entrance, start] of entrances) {
  t.test(`${entrance}: a subscription whose hook fails for a while is made when it can; one that is refused is not`, async (t) => {
    const { ds, url } = await start(t)
    const asked: string[] = []
    ds.primitives.crdt.register('likes', 'pn-counter')
    ds.addHook('preSubscribe', async (_ctx, { key }) => {
      asked.push(key)
      if (key === 'secret') throw new Error('not for you')
      if (asked.filter((each) => each === key).length === 1) throw Object.assign(new Error('connect ECONNREFUSED postgres://admin:secret@db'), { code: 'ECONNREFUSED' })
    })
    await ds.primitives.live.setState('board', { n: 1, list: [] })
    const { client, errors, until } = watch<AppContract>(t, { url })
    await client.connect()
    client.subscribeState('secret', () => {})
    const likes = client.crdt('likes' as never, 'pn-counter')
    const counted = new Promise<unknown>((resolve) => { likes.subscribe(resolve) })
    t.match(await new Promise((resolve) => { client.subscribeState('board', resolve) }), { n: 1 })
    t.equal(await counted, 0)
    await until(() => errors.length > 0)
    t.match(errors, [{ code: 'FORBIDDEN', message: /not for you/ }])
    t.strictSame(asked.toSorted(), ['board', 'board', 'likes', 'likes', 'secret'])
  })
}
