import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient, type DatasoleClientOptions } from '../../lib/client/client.js'
import { resolveOptions } from '../../lib/client/options.js'

const base: DatasoleClientOptions = { url: 'http://127.0.0.1:3000', webSocket: WebSocket }

t.test('a wrong option throws at construction, and is named', async (t) => {
  const wrong: Array<[name: string, options: object]> = [
    ['url', { url: undefined }],
    ['url', { url: 'ftp://example.com' }],
    ['url', { url: 'localhost' }],
    ['url', { url: 7 }],
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

t.test('where there is no WebSocket one has to be passed', async (t) => {
  const scope = globalThis as { WebSocket?: unknown }
  const own = scope.WebSocket
  t.teardown(() => { if (own !== undefined) scope.WebSocket = own })
  delete scope.WebSocket
  t.throws(() => new DatasoleClient({ url: base.url }), { code: 'INVALID_OPTION', message: /webSocket is needed, as this Node.js has no WebSocket of its own/ })
  scope.WebSocket = WebSocket
  t.doesNotThrow(() => new DatasoleClient({ url: base.url }))
  if (own === undefined) delete scope.WebSocket
})

t.test('the addresses', async (t) => {
  const address = (options: DatasoleClientOptions): string => resolveOptions({ ...base, ...options }).link.url
  t.equal(address({}), 'ws://127.0.0.1:3000/__ds')
  t.equal(address({ url: 'https://example.com/' }), 'wss://example.com/__ds')
  t.equal(address({ url: 'wss://example.com:8443', path: '/live' }), 'wss://example.com:8443/live')
  t.equal(resolveOptions({ ...base, url: 'wss://example.com' }).workerUrl, 'https://example.com/__ds/datasole-worker.iife.min.js')
  t.equal(resolveOptions({ ...base, path: '/' }).workerUrl, 'http://127.0.0.1:3000/datasole-worker.iife.min.js')
})

t.test('in a page the server is where the page came from', async (t) => {
  const scope = globalThis as { location?: unknown }
  t.teardown(() => { delete scope.location })
  scope.location = { origin: 'https://app.example.com' }
  t.equal(resolveOptions({ webSocket: WebSocket }).link.url, 'wss://app.example.com/__ds')
  scope.location = { origin: 'null' } // a page from a file
  t.throws(() => resolveOptions({ webSocket: WebSocket }), { message: /option url is needed/ })
  t.equal(resolveOptions(base).link.url, 'ws://127.0.0.1:3000/__ds')
})

t.test('the token is a subprotocol in base64url, and nowhere in the URL', async (t) => {
  const { link } = resolveOptions({ ...base, auth: { token: 'häß?>~=/+' } })
  t.equal(link.protocols![0], 'datasole.v2')
  const encoded = link.protocols![1]!.slice('datasole.token.'.length)
  t.match(encoded, /^[\w-]+$/)
  t.equal(Buffer.from(encoded, 'base64url').toString(), 'häß?>~=/+')
  t.equal(link.url, 'ws://127.0.0.1:3000/__ds')
  t.strictSame(resolveOptions({ ...base, auth: {} }).link.protocols, ['datasole.v2'])
})
