import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import http from '../../../plugins/http.js'
import { DatasoleServer } from '../../../plugins/server.js'
import { tcp, exchange } from '../../helpers/raw.js'
import { inTime, until } from '../../helpers/until.js'
import { follow } from './event-reader.js'
import { type Answer, ask, httpEntrances, startFastify, startPlain } from './start.js'

for (const [entrance, start] of httpEntrances) {
  t.test(`hostile, ${entrance}: bodies that are too large or cut off`, async (t) => {
    const { api, ds, port } = await start(t, { maxPayload: 1000, http: { allowPatch: true, allowBroadcast: true }, prepare: (ds) => { ds.rpc.register('size', (params) => JSON.stringify(params).length) } })
    const sized = (size: number): string => JSON.stringify('a'.repeat(size - 2))
    for (const [method, path, type] of [['POST', 'rpc/size', 'application/json'], ['POST', 'events/a', 'application/json'], ['PATCH', 'state/a', 'application/json-patch+json']]) {
      const large = await ask(`${api}/${path!}`, { method: method!, body: sized(1001), headers: { 'content-type': type! } })
      t.match(large, { status: 413, body: { statusCode: 413, code: 'PAYLOAD_TOO_LARGE' } }, path)
      const endless = await exchange(port, `${method!} /api/${path!} HTTP/1.1\r\nhost: a\r\ncontent-type: ${type!}\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n${'400\r\n' + 'a'.repeat(1024) + '\r\n'}0\r\n\r\n`)
      t.match(endless, /^HTTP\/1\.1 413 /, path)
    }
    // with its envelope such a call is over what a frame may have
    t.match(await ask(`${api}/rpc/size`, { method: 'POST', body: sized(1000), headers: { 'content-type': 'application/json' } }), { status: 413, body: { code: 'CLOSED', error: 'frame over maxPayload' } })
    t.match(await ask(`${api}/rpc/size`, { method: 'POST', body: sized(900), headers: { 'content-type': 'application/json' } }), { status: 200, body: { result: 900 } })

    const socket = await tcp(port)
    socket.write('POST /api/rpc/size HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"a":')
    socket.resetAndDestroy()
    await once(socket, 'close')
    t.equal((await ask(`${api}/rpc/size`, { method: 'POST', json: {} })).status, 200)
    await until(() => ds.transport.getConnectionCount() === 0)
  })

  t.test(`hostile, ${entrance}: paths, methods and headers of every kind`, async (t) => {
    const { ds, port, logs } = await start(t)
    await ds.primitives.live.setState('a', 1)
    const line = async (text: string, headers = ''): Promise<string> => (await exchange(port, `${text} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${headers}\r\n`)).split('\r\n')[0]!.slice(9, 12)
    t.equal(await line('GET /api/state/a'), '200')
    for (const path of ['/api/state/%zz', '/api/state/%', '/api/state/%ff']) t.equal(await line(`GET ${path}`), '400', path)
    for (const path of ['/api/state/', '/api/state/a/b', '/api/rpc/', '/api/rpc/a', '/api/state/%00']) t.equal(await line(`GET ${path}`), '404', path)
    for (const method of ['PUT', 'DELETE', 'POST']) t.equal(await line(`${method} /api/state/a`, 'content-length: 0\r\n'), '404', method)
    for (const prefer of ['wait=99999999999999999999', 'wait=-1', 'wait=0x10', 'wait="', ','.repeat(5000), 'wait=1,'.repeat(1000) + 'x']) t.equal(await line('GET /api/state/a', `prefer: ${prefer}\r\nif-none-match: "x-1"\r\n`), '200', prefer.slice(0, 30))
    for (const tag of ['"', '""""""', 'W/W/"a"', '"'.repeat(8001), '"a-1",'.repeat(1000), '\xff']) t.equal(await line('GET /api/state/a', `if-none-match: ${tag}\r\n`), '200', tag.slice(0, 30))
    for (const accept of ['text/event-streams', 'application/json', '*/*', 'x'.repeat(5000)]) t.equal(await line('GET /api/state/a', `accept: ${accept}\r\n`), '200', accept.slice(0, 30))
    t.equal(await line(`GET /api/state/${'a'.repeat(9000)}`), '414', 'a key longer than a frame may have')
    await ds.primitives.live.setState('a'.repeat(8000), 1)
    t.equal(await line(`GET /api/state/${'a'.repeat(8000)}`), entrance === 'fastify' ? '414' : '200', 'Fastify has a bound of its own')
    await until(() => ds.transport.getConnectionCount() === 0)
    t.notMatch(logs.join(''), /"level":[56]0/)
  })
}

t.test('hostile: requests that are cut off at every moment leave nothing', async (t) => {
  let release = (): void => {}
  const held = new Promise<void>((resolve) => { release = resolve })
  const waits: string[] = []
  const wait = async (where: string): Promise<void> => { waits.push(where); await held }
  const { port, ds, logs } = await startFastify(t, {
    authHandler: async (req) => {
      if (req.url!.includes('auth')) await wait('auth')
      return { authenticated: true, userId: 'ann' }
    },
    prepare: (ds) => {
      ds.primitives.live.register('hook')
      ds.addHook('onConnect', async ({ metadata }) => { if ('x' in metadata) await held })
      ds.addHook('preSubscribe', async () => { await wait('hook') })
      ds.rpc.register('call', async () => { await wait('call') })
    }
  })
  for (const [where, request] of Object.entries({ auth: 'GET /api/state/auth', hook: 'GET /api/state/hook', call: 'POST /api/rpc/call' })) {
    for (const accept of ['*/*', 'text/event-stream']) {
      const before = waits.length
      const socket = await tcp(port)
      socket.write(`${request} HTTP/1.1\r\nhost: a\r\naccept: ${accept}\r\ncontent-length: 0\r\n\r\n`)
      await until(() => waits.length > before)
      t.equal(waits.at(-1), where)
      socket.resetAndDestroy()
    }
  }
  release()
  await until(() => ds.transport.getConnectionCount() === 0)
  t.notMatch(logs.join(''), /"level":[56]0/)
})

t.test('hostile: a server closes with every kind of request under way', async (t) => {
  const { port, ds, close, logs } = await startFastify(t, { closeTimeoutMs: 300, prepare: (ds) => { ds.rpc.register('hang', async () => await new Promise(() => {})) } })
  await ds.primitives.live.setState('a', 1)
  const { epoch, version } = await ds.primitives.live.getSnapshot('a')
  const answers = ['GET /api/state/a HTTP/1.1\r\naccept: text/event-stream', `GET /api/state/a HTTP/1.1\r\nif-none-match: "${epoch}-${version}"\r\nprefer: wait=60`, 'POST /api/rpc/hang HTTP/1.1\r\ncontent-length: 0'].map((head) => exchange(port, `${head}\r\nhost: a\r\n\r\n`))
  await until(() => ds.transport.getConnectionCount() === 3)
  const began = performance.now()
  await close()
  t.ok(performance.now() - began < 30_000, 'none of them is waited for')
  const [stream, poll, call] = await Promise.all(answers)
  t.match(stream, 'event: close\ndata: {"code":1001,"reason":"server going away"}')
  t.match(poll, /^HTTP\/1\.1 503 .*retry-after: 1/s)
  t.match(call, /^HTTP\/1\.1 503 /)
  t.notMatch(logs.join(''), /"level":[56]0/)
})

t.test('hostile: a key that cannot be read is 503 in time', async (t) => {
  const { api, ds, logs } = await startFastify(t, {
    http: { readTimeoutMs: 50 },
    prepare: (ds) => {
      ds.primitives.live.register('hook')
      ds.addHook('preSubscribe', async () => { await new Promise(() => {}) })
    }
  })
  for (const accept of ['*/*', 'text/event-stream']) {
    const late = await ask(`${api}/state/hook`, { headers: { accept } })
    t.match({ status: late.status, body: late.body, after: late.headers.get('retry-after') }, { status: 503, body: { code: 'BUSY', error: 'the key cannot be read now' }, after: '1' }, accept)
  }
  await until(() => ds.transport.getConnectionCount() === 0)
  t.notMatch(logs.join(''), /"level":[56]0/)
})

t.test('hostile: a server that drains ends streams in waves, and takes no more', async (t) => {
  const { api, ds, close } = await startPlain(t, { drainMs: 3000 })
  await ds.primitives.live.setState('a', 1)
  const readers = await Promise.all(Array.from({ length: 6 }, () => follow(t, `${api}/state/a`)))
  const closing = close()
  await until(() => ds.transport.getConnectionCount() < 6)
  const late = await ask(`${api}/state/a`).catch((error: unknown) => error) as Answer
  t.match(late, { status: 503 })
  await Promise.all(readers.map((reader) => reader.until(({ isOver }) => isOver)))
  for (const { events } of readers) t.match(events.at(-1), { event: 'close', data: { code: 1001 } })
  await closing
})

t.test('hostile: an http server that closes first takes streams, long polls and calls along', async (t) => {
  const plain = createServer((_req, res) => { res.end('the rest') })
  const ds = new DatasoleServer({ rateLimit: false, closeTimeoutMs: 300 })
  t.teardown(async () => {
    plain.closeAllConnections()
    await ds.close()
  })
  ds.register(http, { prefix: '/api' })
  ds.transport.attach(plain)
  let answer = (): void => {}
  ds.rpc.register('slow', async () => { await new Promise<void>((resolve) => { answer = resolve }) })
  ds.rpc.register('hang', async () => await new Promise(() => {}))
  await ds.init()
  await ds.primitives.live.setState('a', 1)
  await once(plain.listen(0, '127.0.0.1'), 'listening')
  const { port } = plain.address() as AddressInfo
  const ends = (head: string): Promise<string> => exchange(port, `${head}\r\nhost: a\r\nconnection: close\r\n\r\n`)
  const answers = ['GET /api/state/a HTTP/1.1\r\naccept: text/event-stream', 'GET /api/state/a HTTP/1.1\r\nif-none-match: *\r\nprefer: wait=60', 'POST /api/rpc/slow HTTP/1.1\r\ncontent-length: 0', 'POST /api/rpc/hang HTTP/1.1\r\ncontent-length: 0'].map(ends)
  const idle = await tcp(port)
  idle.write('GET /api/state/a HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n')
  await until(() => ds.transport.getConnectionCount() === 5)
  const closed = once(plain, 'close')
  plain.close()
  answer()
  const [stream, poll, slow, hang] = await Promise.all(answers.map((each) => inTime(each, () => 'an answer')))
  t.match(stream, 'event: close\ndata: {"code":1001,"reason":"server going away"}')
  t.match(poll, /^HTTP\/1\.1 503 /)
  t.match(slow, /^HTTP\/1\.1 200 /)
  t.match(hang, /^HTTP\/1\.1 503 /)
  // its connection is kept alive, and tries to follow again
  let late = ''
  idle.on('data', (chunk) => { late += String(chunk) })
  idle.write('GET /api/state/a HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n')
  await until(() => late.includes('HTTP/1.1 503 '))
  await inTime(closed, () => 'the http server')
  t.equal(ds.transport.getConnectionCount(), 0)
})
