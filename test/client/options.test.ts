import { mock } from 'node:test'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient, type DatasoleClientOptions } from '../../lib/client/client.js'
import { resolveOptions } from '../../lib/client/client-options.js'
import { entrances } from '../helpers/entrances.js'

const [, start] = entrances[1]!

const base: DatasoleClientOptions = { url: 'http://127.0.0.1:3000', webSocket: WebSocket }

t.test('a wrong option throws at construction, and is named', async (t) => {
  const wrong: Array<[name: string, options: object]> = [
    ['url', { url: undefined }],
    ['url', { url: 'ftp://example.com' }],
    ['url', { url: 'localhost' }],
    ['url', { url: 7 }],
    ['url', { url: 'https://example.com/#top' }],
    ['path', { path: 'ws' }],
    ['path', { path: '//example.com/ws' }],
    ['path', { path: '/\\example.com/ws' }],
    ['path', { path: '/ws?token=x' }],
    ['auth.token', { auth: { token: 7 } }],
    ['getToken', { getToken: 'token' }],
    ['getToken', { getToken: () => 't', auth: { token: 't' } }],
    ['useWorker', { useWorker: 'yes' }],
    ['useWorker', { useWorker: true }],
    ['workerUrl', { workerUrl: 7 }],
    ['reconnect', { reconnect: 1 }],
    ['reconnectInterval', { reconnectInterval: 0 }],
    ['reconnectInterval', { reconnectInterval: '1' }],
    ['reconnectInterval', { reconnectInterval: NaN }],
    ['reconnectInterval', { reconnectInterval: Infinity }],
    ['maxReconnectAttempts', { maxReconnectAttempts: -1 }],
    ['maxReconnectAttempts', { maxReconnectAttempts: NaN }],
    ['connectTimeoutMs', { connectTimeoutMs: -1 }],
    ['connectTimeoutMs', { connectTimeoutMs: Infinity }],
    ['rpcTimeoutMs', { rpcTimeoutMs: -1 }],
    ['rpcTimeoutMs', { rpcTimeoutMs: Infinity }],
    ['webSocket', { webSocket: {} }],
    ['onError', { onError: 'log' }],
    ['retries', { retries: 3 }]
  ]
  for (const [name, options] of wrong) {
    t.throws(() => new DatasoleClient({ ...base, ...options } as never), { code: 'INVALID_OPTION', message: new RegExp(`option ${name} `) }, JSON.stringify(options))
  }
  for (const options of [null, 'http://127.0.0.1:3000', []]) t.throws(() => new DatasoleClient(options as never), { name: 'DatasoleError', code: 'INVALID_OPTION', message: /options must be an object/ })
})

t.test('options: where there is no WebSocket one has to be passed', async (t) => {
  const scope = globalThis as { WebSocket?: unknown }
  const own = scope.WebSocket
  t.teardown(() => { if (own !== undefined) scope.WebSocket = own })
  delete scope.WebSocket
  t.throws(() => new DatasoleClient({ url: base.url }), { code: 'INVALID_OPTION', message: /webSocket is needed before Node.js 22/ })
  scope.WebSocket = WebSocket
  t.doesNotThrow(() => new DatasoleClient({ url: base.url }))
  if (own === undefined) delete scope.WebSocket
})

t.test('options: the addresses', async (t) => {
  const address = (options: DatasoleClientOptions): string => resolveOptions({ ...base, ...options }).link.url
  t.equal(address({}), 'ws://127.0.0.1:3000/__ds')
  t.equal(address({ url: 'https://example.com/' }), 'wss://example.com/__ds')
  t.equal(address({ url: 'wss://example.com:8443', path: '/live' }), 'wss://example.com:8443/live')
  t.equal(address({ url: 'http://example.com', path: '/' }), 'ws://example.com/')
  t.equal(resolveOptions({ ...base, url: 'wss://example.com' }).workerUrl, 'https://example.com/__ds/datasole-worker.iife.min.js')
  t.equal(resolveOptions({ ...base, path: '/' }).workerUrl, 'http://127.0.0.1:3000/datasole-worker.iife.min.js')
})

t.test('nothing of a url is left out: its path goes before the other, its query stays', async (t) => {
  const expected: Array<[url: string, path: string, socket: string, worker: string]> = [
    ['https://example.com/my-service?tenant=7', '/__ds', 'wss://example.com/my-service/__ds?tenant=7', 'https://example.com/my-service/__ds/datasole-worker.iife.min.js?tenant=7'],
    ['https://example.com/my-service/', '/__ds', 'wss://example.com/my-service/__ds', 'https://example.com/my-service/__ds/datasole-worker.iife.min.js'],
    ['ws://example.com/a/b', '/live/', 'ws://example.com/a/b/live/', 'http://example.com/a/b/live/datasole-worker.iife.min.js'],
    ['ws://example.com/a/', '/', 'ws://example.com/a/', 'http://example.com/a/datasole-worker.iife.min.js'],
    ['ws://example.com/a', '/', 'ws://example.com/a/', 'http://example.com/a/datasole-worker.iife.min.js'],
    ['wss://example.com/__ds', '/__ds', 'wss://example.com/__ds', 'https://example.com/__ds/datasole-worker.iife.min.js'],
    ['wss://example.com/a/__ds/?b=c', '/__ds', 'wss://example.com/a/__ds?b=c', 'https://example.com/a/__ds/datasole-worker.iife.min.js?b=c'],
    ['wss://example.com/my__ds', '/__ds', 'wss://example.com/my__ds/__ds', 'https://example.com/my__ds/__ds/datasole-worker.iife.min.js'],
    ['http://example.com?a=%26&token=s3cret&Token=t', '/__ds', 'ws://example.com/__ds?a=%26&token=s3cret&Token=t', 'http://example.com/__ds/datasole-worker.iife.min.js?a=%26'],
    ['http://ann:pass@example.com/a%20b', '/__ds', 'ws://ann:pass@example.com/a%20b/__ds', 'http://ann:pass@example.com/a%20b/__ds/datasole-worker.iife.min.js']
  ]
  for (const [url, path, socket, worker] of expected) {
    const { link, workerUrl } = resolveOptions({ ...base, url, path })
    t.equal(link.url, socket, url)
    t.equal(workerUrl, worker, url)
  }
})

t.test('options: such a server is reached', async (t) => {
  const { ds, origin } = await start(t, { path: '/my-service/__ds', authHandler: (req) => ({ authenticated: req.url === '/my-service/__ds?tenant=7' }) })
  const client = new DatasoleClient({ ...base, url: `${origin}/my-service?tenant=7` })
  t.teardown(() => client.disconnect())
  await client.connect()
  t.equal(ds.transport.getConnectionCount(), 1)
})

t.test('options: in a page the server is where the page came from', async (t) => {
  const scope = globalThis as { location?: unknown }
  t.teardown(() => { delete scope.location })
  scope.location = { origin: 'https://app.example.com' }
  t.equal(resolveOptions({ webSocket: WebSocket }).link.url, 'wss://app.example.com/__ds')
  const relative: Array<[url: string, socket: string]> = [
    ['/svc', 'wss://app.example.com/svc/__ds'],
    ['svc/?a=1', 'wss://app.example.com/svc/__ds?a=1'],
    ['?a=1', 'wss://app.example.com/__ds?a=1'],
    ['//other.example.com/svc', 'wss://other.example.com/svc/__ds'],
    ['', 'wss://app.example.com/__ds']
  ]
  for (const [url, socket] of relative) t.equal(resolveOptions({ webSocket: WebSocket, url }).link.url, socket, url)
  scope.location = { origin: 'null' } // a page from a file
  t.throws(() => resolveOptions({ webSocket: WebSocket }), { message: /option url is needed/ })
  t.equal(resolveOptions(base).link.url, 'ws://127.0.0.1:3000/__ds')
})

t.test('options: the token is a subprotocol in base64url, and nowhere in the URL', async (t) => {
  const { link } = resolveOptions({ ...base, auth: { token: 'häß?>~=/+' } })
  t.strictSame(link.protocols!.slice(0, 2), ['datasole.v3', 'datasole.v2'])
  const encoded = link.protocols![2]!.slice('datasole.token.'.length)
  t.match(encoded, /^[\w-]+$/)
  t.equal(Buffer.from(encoded, 'base64url').toString(), 'häß?>~=/+')
  t.equal(link.url, 'ws://127.0.0.1:3000/__ds')
  t.strictSame(resolveOptions({ ...base, auth: {} }).link.protocols, ['datasole.v3', 'datasole.v2'])
})

t.test('options: what onError throws is thrown apart, so that the frames behind are still delivered', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => { mock.timers.reset() })
  const { onError } = resolveOptions({ ...base, onError: (error) => { throw error } })
  t.doesNotThrow(() => { onError(new Error('of a handler')) })
  t.throws(() => { mock.timers.tick(1) }, { message: 'of a handler' })
})
