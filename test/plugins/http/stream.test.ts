import { connect } from 'node:net'
import { once } from 'node:events'
import t from 'tap'
import { CloseCode } from '../../../lib/protocol/codes.js'
import { until } from '../../helpers/until.js'
import { follow } from './event-reader.js'
import { ask, httpEntrances, startFastify } from './start.js'

for (const [entrance, start] of httpEntrances) {
  t.test(`stream, ${entrance}: a snapshot, patches, a deletion, and a new value`, async (t) => {
    const { api, ds } = await start(t)
    const { live } = ds.primitives
    await live.setState('board', { n: 1, text: 'a'.repeat(2000) })
    const reader = await follow(t, `${api}/state/board`)
    const { statusCode, headers } = reader.response
    t.match({ statusCode, headers }, { statusCode: 200, headers: { 'content-type': 'text/event-stream', 'cache-control': /no-cache/ } })
    await reader.until(({ events }) => events.length === 1)
    t.equal(reader.retry, 2000)
    const { epoch } = await live.getSnapshot('board')
    t.match(reader.events[0], { event: 'snapshot', id: `${epoch}-1`, data: { n: 1 } })

    await live.update('board', (draft: any) => { draft.n = 2 })
    await reader.until(({ events }) => events.length === 2)
    t.strictSame(reader.events[1], { event: 'patch', id: `${epoch}-2`, data: [{ op: 'replace', path: '/n', value: 2 }] })

    await live.deleteState('board')
    await reader.until(({ events }) => events.length === 3)
    t.match(reader.events[2], { event: 'deleted', data: null })
    await live.setState('board', 'again')
    await reader.until(({ events }) => events.length === 4)
    t.match(reader.events[3], { event: 'snapshot', data: 'again' })

    reader.end()
    await until(() => ds.transport.getConnectionCount() === 0)
  })

  t.test(`stream, ${entrance}: it goes on from Last-Event-ID`, async (t) => {
    const { api, ds } = await start(t)
    const { live } = ds.primitives
    await live.setState('board', { n: 1, text: 'a'.repeat(2000) })
    const first = await follow(t, `${api}/state/board`)
    await first.until(({ events }) => events.length === 1)
    first.end()
    const id = first.lastId!
    await live.update('board', (draft: any) => { draft.n = 2 })
    await live.update('board', (draft: any) => { draft.n = 3 })

    const second = await follow(t, `${api}/state/board`, { 'last-event-id': id })
    await second.until(({ events }) => events.length === 1)
    t.match(second.events, [{ event: 'patch', data: [{ value: 2 }, { value: 3 }] }], 'both patches in one event')
    const current = await follow(t, `${api}/state/board`, { 'last-event-id': second.lastId! })
    await live.update('board', (draft: any) => { draft.n = 4 })
    await current.until(({ events }) => events.length === 1)
    t.match(current.events, [{ event: 'patch', data: [{ value: 4 }] }], 'nothing was missed')
    for (const unknown of ['nonsense', 'other-1', '-', `${id.replace(/\d+$/, '')}999`, `${id}9999999999999999`]) {
      const reader = await follow(t, `${api}/state/board`, { 'last-event-id': unknown })
      await reader.until(({ events }) => events.length === 1)
      t.match(reader.events, [{ event: 'snapshot', data: { n: 4 } }], unknown)
    }
  })
}

t.test('stream: a key without a value, and a CRDT', async (t) => {
  const { api, ds } = await startFastify(t, { prepare: (ds) => { ds.primitives.crdt.register('votes', 'pn-counter') } })
  const none = await follow(t, `${api}/state/later`)
  await none.until(({ events }) => events.length === 1)
  t.match(none.events[0], { event: 'deleted', data: null })
  await ds.primitives.live.setState('later', 1)
  await none.until(({ events }) => events.length === 2)
  t.match(none.events[1], { event: 'snapshot', data: 1 })

  const votes = ds.primitives.crdt.get<'pn-counter'>('votes' as never) as unknown as { increment (by: number): Promise<void> }
  const reader = await follow(t, `${api}/state/votes`)
  for (let i = 0; i < 3; i++) await votes.increment(1)
  await reader.until(({ events }) => events.at(-1)?.data === 3)
  t.ok(reader.events.every(({ event }) => event === 'snapshot' || event === 'deleted'))
})

t.test('stream: it is refused as a subscription is, and ends when the key is guarded later', async (t) => {
  let guard = (): void => {}
  const { api, ds } = await startFastify(t, {
    prepare: (ds) => {
      ds.primitives.live.register('secret')
      ds.addHook('preSubscribe', (_ctx, { key }) => { if (['secret', 'later'].includes(key)) throw new Error('not for you') })
      guard = () => { ds.primitives.live.register('later') }
    }
  })
  const refused = await ask(`${api}/state/secret`, { headers: { accept: 'text/event-stream' } })
  t.match(refused, { status: 403, body: { statusCode: 403, code: 'FORBIDDEN', error: 'not for you' } })
  const reader = await follow(t, `${api}/state/later`)
  await reader.until(({ events }) => events.length === 1)
  guard()
  await reader.until(({ isOver }) => isOver)
  t.strictSame(reader.events.at(-1), { event: 'error', id: undefined, data: { code: 'FORBIDDEN', message: 'not for you' } })
  t.equal(ds.transport.getConnectionCount(), 0)
})

t.test('stream: heartbeats are comments', async (t) => {
  const { api, ds } = await startFastify(t, { heartbeatMs: 20 })
  await ds.primitives.live.setState('board', 1)
  const reader = await follow(t, `${api}/state/board`)
  await reader.until(({ comments }) => comments >= 5)
  t.notOk(reader.isOver, 'a reader that has nothing to say is not silent')
})

t.test('stream: it ends with its user, its authentication and its server', async (t) => {
  const { api, ds, close } = await startFastify(t, {
    authHandler: async (req) => {
      const userId = req.headers.authorization?.slice('Bearer '.length)
      return { authenticated: userId !== undefined, userId, expiresAt: userId === 'bob' ? Date.now() + 3000 : undefined } as never
    }
  })
  await ds.primitives.live.setState('board', 1)
  const [ann, bob, cyd] = await Promise.all(['ann', 'bob', 'cyd'].map((user) => follow(t, `${api}/state/board`, { authorization: `Bearer ${user}` })))
  ds.disconnectUser('ann')
  await ann!.until(({ isOver }) => isOver)
  t.match(ann!.events.at(-1), { event: 'close', data: { code: CloseCode.AUTH_EXPIRED, reason: 'disconnected by the server' } })
  await bob!.until(({ isOver }) => isOver)
  t.match(bob!.events.at(-1), { event: 'close', data: { code: CloseCode.AUTH_EXPIRED, reason: 'authentication expired' } })
  const closing = close()
  await cyd!.until(({ isOver }) => isOver)
  t.match(cyd!.events.at(-1), { event: 'close', data: { code: CloseCode.GOING_AWAY } })
  await closing
})

t.test('stream: hundreds of them, and no more than the options say', async (t) => {
  const { api, ds, close } = await startFastify(t, { http: { maxStreams: 300, maxStreamsPerUser: 300 } })
  await ds.primitives.live.setState('board', { n: 0 })
  const readers = await Promise.all(Array.from({ length: 300 }, () => follow(t, `${api}/state/board`)))
  const refused = await ask(`${api}/state/board`, { headers: { accept: 'text/event-stream' } })
  t.match({ status: refused.status, body: refused.body, after: refused.headers.get('retry-after') }, { status: 503, body: { code: 'BUSY' }, after: '5' })
  t.equal((await ask(`${api}/state/board`)).status, 200, 'reading is no stream')
  await ds.primitives.live.setState('board', { n: 1 })
  await Promise.all(readers.map((reader) => reader.until(({ events }) => events.length === 2)))
  readers[0]!.end()
  await until(() => ds.transport.getConnectionCount() === 299)
  await follow(t, `${api}/state/board`)
  await close()
  await Promise.all(readers.map((reader) => reader.until(({ isOver }) => isOver)))

  const one = await startFastify(t, { http: { maxStreamsPerUser: 1 }, authHandler: async (req) => ({ authenticated: true, userId: req.headers.authorization! }) })
  await follow(t, `${one.api}/state/board`, { authorization: 'ann' })
  t.equal((await ask(`${one.api}/state/board`, { headers: { accept: 'text/event-stream', authorization: 'ann' } })).status, 503)
  t.equal((await follow(t, `${one.api}/state/board`, { authorization: 'bob' })).response.statusCode, 200)
})

t.test('stream: a reader that stands still gets the newest value when it goes on, and costs no more than a bound', async (t) => {
  const { api, ds, port } = await startFastify(t)
  const { live } = ds.primitives
  const text = (n: number): string => String.fromCharCode(97 + n % 26).repeat(100_000)
  await live.setState('board', { n: 0, text: text(0) })
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  socket.pause()
  socket.write(`GET ${new URL(api).pathname}/state/board HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n`)
  await until(() => ds.transport.getConnectionCount() === 1)
  let most = 0
  for (let n = 1; n <= 400; n++) {
    await live.setState('board', { n, text: text(n) })
    most = Math.max(most, (await ds.connections.list()).connections[0]!.bufferedBytes)
  }
  t.ok(most < 4 * 1024 * 1024, `${most} bytes were buffered`)
  let received = ''
  socket.on('data', (chunk) => { received += String(chunk) })
  socket.resume()
  await until(() => received.includes('"n":400,') || received.includes('"value":400}'))
  t.ok(received.length < 30_000_000, `${received.length} of 40,000,000 bytes were sent`)
})

t.test('stream: a reader that stands still for good is ended', async (t) => {
  const { api, ds, port, logs } = await startFastify(t, { heartbeatMs: 100, closeTimeoutMs: 100 })
  const { live } = ds.primitives
  await live.setState('board', '')
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  await once(socket, 'connect')
  socket.pause()
  socket.on('error', () => {})
  socket.write(`GET ${new URL(api).pathname}/state/board HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n`)
  await until(() => ds.transport.getConnectionCount() === 1)
  let n = 0
  await until(async () => {
    await live.setState('board', String(n++ % 10).repeat(1_000_000))
    return ds.transport.getConnectionCount() === 0
  })
  t.notMatch(logs.join(''), '"level":50')
})
