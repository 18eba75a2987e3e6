import t from 'tap'
import { until } from '../../helpers/until.js'
import { ask, httpEntrances, startFastify } from './start.js'

for (const [entrance, start] of httpEntrances) {
  t.test(`state, ${entrance}: a value, with an ETag of its position`, async (t) => {
    const { api, ds } = await start(t)
    await ds.primitives.live.setState('board', { n: 1 })
    const { epoch, version } = await ds.primitives.live.getSnapshot('board')
    const read = await ask(`${api}/state/board`)
    t.match({ status: read.status, body: read.body }, { status: 200, body: { n: 1 } })
    t.equal(read.headers.get('etag'), `"${epoch}-${version}"`)
    t.equal(read.headers.get('cache-control'), 'no-cache')
    t.match(read.headers.get('content-type'), 'application/json')

    const head = await fetch(`${api}/state/board`, { method: 'HEAD', headers: { accept: 'text/event-stream' } })
    t.match({ status: head.status, tag: head.headers.get('etag'), text: await head.text() }, { status: 200, tag: `"${epoch}-1"`, text: '' })

    t.match(await ask(`${api}/state/nothing`), { status: 404, body: { statusCode: 404, code: 'UNKNOWN_KEY', error: 'the key has no value' } })
    t.equal(ds.transport.getConnectionCount(), 0)
  })
}

t.test('state: If-None-Match', async (t) => {
  const { api, ds } = await startFastify(t)
  await ds.primitives.live.setState('board', { n: 1 })
  const tag = (await ask(`${api}/state/board`)).headers.get('etag')!
  const statusFor = async (header: string): Promise<number> => (await ask(`${api}/state/board`, { headers: { 'if-none-match': header } })).status
  for (const known of [tag, `W/${tag}`, '*', `"other", ${tag}`, `"a-1",${tag}`]) t.equal(await statusFor(known), 304, known)
  for (const other of ['', 'nonsense', tag.slice(1, -1), '"', '"-1"', '"a--1"', `"${'9'.repeat(40)}"`, '"%zz-1"', tag.replace('-1"', '-2"'), tag.replace('-1"', '-0"'), 'W/', ',,,,']) t.equal(await statusFor(other), 200, other)

  await ds.primitives.live.setState('board', { n: 2 })
  const next = await ask(`${api}/state/board`, { headers: { 'if-none-match': tag } })
  t.match({ status: next.status, body: next.body }, { status: 200, body: { n: 2 } })
  t.not(next.headers.get('etag'), tag)
  await ds.primitives.live.deleteState('board')
  t.equal(await statusFor(tag), 404, 'a key that was deleted')
  t.equal(await statusFor('*'), 404)
})

t.test('state: keys of any characters', async (t) => {
  const { api, ds } = await startFastify(t)
  for (const key of ['a/b', 'a b', 'ключ', '__proto__', 'constructor', 'a..b', '%41', 'a?b#c']) {
    await ds.primitives.live.setState(key, { key })
    t.match(await ask(`${api}/state/${encodeURIComponent(key)}`), { status: 200, body: { key } }, key)
  }
  await ds.primitives.live.setState('text', JSON.parse('{"__proto__":{"a":1},"text":"é\\u2028\\n"}'))
  t.equal(await (await fetch(`${api}/state/text`)).text(), '{"__proto__":{"a":1},"text":"é\u2028\\n"}')
})

for (const [entrance, start] of httpEntrances) {
  t.test(`state, ${entrance}: a long poll waits for the next value`, async (t) => {
    const { api, ds } = await start(t)
    await ds.primitives.live.setState('board', { n: 1 })
    const tag = (await ask(`${api}/state/board`)).headers.get('etag')!
    const poll = (prefer: string, known = tag): ReturnType<typeof ask> => ask(`${api}/state/board`, { headers: { 'if-none-match': known, prefer } })

    const waiting = poll('respond-async, wait=20')
    await until(() => ds.transport.getConnectionCount() === 1)
    await ds.primitives.live.setState('board', { n: 2 })
    const answer = await waiting
    t.match({ status: answer.status, body: answer.body, applied: answer.headers.get('preference-applied') }, { status: 200, body: { n: 2 }, applied: 'wait=20' })
    t.match(await poll('wait=20'), { status: 200, body: { n: 2 } }, 'it is newer already')

    const newest = answer.headers.get('etag')!
    t.equal((await poll('wait=1', newest)).status, 304, 'none came')
    for (const prefer of ['wait=0', 'wait=-5', 'wait=abc', 'wait', 'wait=1e9', 'waiting=20']) t.equal((await poll(prefer, newest)).status, 304, prefer)

    const deleted = poll('wait=20', newest)
    await until(() => ds.transport.getConnectionCount() === 1)
    await ds.primitives.live.deleteState('board')
    t.equal((await deleted).status, 404)
    t.equal(ds.transport.getConnectionCount(), 0)
  })
}

t.test('state: a long poll is bounded in time and number, and ends with its client', async (t) => {
  const { api, ds } = await startFastify(t, { http: { maxWaitMs: 50, maxStreams: 1 } })
  await ds.primitives.live.setState('board', 1)
  const tag = (await ask(`${api}/state/board`)).headers.get('etag')!
  t.equal((await ask(`${api}/state/board`, { headers: { 'if-none-match': tag, prefer: 'wait=999999999' } })).status, 304)

  const long = await startFastify(t, { http: { maxStreams: 1 } })
  await long.ds.primitives.live.setState('board', 1)
  const known = { 'if-none-match': (await ask(`${long.api}/state/board`)).headers.get('etag')!, prefer: 'wait=30' }
  const leaving = new AbortController()
  const first = ask(`${long.api}/state/board`, { headers: known, signal: leaving.signal })
  await until(() => long.ds.transport.getConnectionCount() === 1)
  const second = await ask(`${long.api}/state/board`, { headers: known })
  t.match({ status: second.status, body: second.body, after: second.headers.get('retry-after') }, { status: 503, body: { code: 'BUSY' }, after: '5' })
  leaving.abort()
  await t.rejects(first)
  await until(() => long.ds.transport.getConnectionCount() === 0)
  const third = ask(`${long.api}/state/board`, { headers: known })
  await until(() => long.ds.transport.getConnectionCount() === 1)
  await long.close()
  t.match(await third, { status: 503, body: { code: 'CLOSED' } }, 'the server closes')
})

t.test('state: CRDTs, channels, and keys that hooks guard', async (t) => {
  const { api, ds } = await startFastify(t, {
    prepare: (ds) => {
      const { live, crdt } = ds.primitives
      crdt.register('votes', 'pn-counter')
      live.createSyncChannel({ key: 'draft', direction: 'client-to-server', mode: 'json-patch', initialValue: {} })
      live.createSyncChannel({ key: 'form', direction: 'bidirectional', mode: 'snapshot', initialValue: { a: 1 } })
      live.register('secret')
      ds.addHook('preSubscribe', async (ctx, { key }) => { if (key === 'secret' && ctx.connection.transport === 'http') throw new Error('not for you') })
    }
  })
  const { live, crdt } = ds.primitives
  const votes = crdt.get<'pn-counter'>('votes' as never) as unknown as { increment (by: number): Promise<void> }
  await votes.increment(3)
  const read = await ask(`${api}/state/votes`)
  t.match({ status: read.status, body: read.body }, { status: 200, body: 3 })
  const waiting = ask(`${api}/state/votes`, { headers: { 'if-none-match': read.headers.get('etag')!, prefer: 'wait=20' } })
  await until(() => ds.transport.getConnectionCount() === 1)
  await votes.increment(2)
  t.match(await waiting, { status: 200, body: 5 })
  t.match(await ask(`${api}/state/form`), { status: 200, body: { a: 1 } })
  t.match(await ask(`${api}/state/draft`), { status: 404, body: { code: 'UNKNOWN_KEY', error: 'each connection has its own value of this key' } })
  await live.setState('secret', 1)
  t.match(await ask(`${api}/state/secret`), { status: 403, body: { code: 'FORBIDDEN', error: 'not for you' } })
})
