import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import t from 'tap'
import { BUNDLES, encodingFor } from '../../plugins/assets.js'
import { entrances } from '../helpers/entrances.js'
import { connect } from '../helpers/wire.js'

const folder = new URL('../../client/', import.meta.url)
mkdirSync(folder, { recursive: true })
// where the package is not built, something has to stand in for the bundles
for (const bundle of BUNDLES) if (!existsSync(new URL(bundle, folder))) writeFileSync(new URL(bundle, folder), `/* ${bundle} */`)

async function ask (origin: string, path: string, method = 'GET', headers = {}): Promise<{ status: number, headers: IncomingMessage['headers'], body: Buffer }> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request(`${origin}${path}`, { method, headers, agent: false }).on('response', resolve).on('error', reject).end()
  })
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return { status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) }
}

for (const [entrance, start] of entrances) {
  t.test(`assets, ${entrance}`, async (t) => {
    t.test('both bundles, with validator and length', async (t) => {
      const { origin } = await start(t)
      const etags = new Set()
      for (const bundle of BUNDLES) {
        const path = `/__ds/${bundle}`
        const expected = readFileSync(new URL(bundle, folder))
        const { status, headers, body } = await ask(origin, path)
        t.equal(status, 200)
        t.same(body, expected)
        t.match(headers, { 'content-type': /^text\/javascript/, 'content-length': String(expected.length), etag: /^"[^"]+"$/, 'cache-control': /no-cache/, 'cross-origin-embedder-policy': 'require-corp' })
        etags.add(headers.etag)

        const head = await ask(origin, path, 'HEAD')
        t.match(head, { status: 200, headers: { etag: headers.etag, 'content-length': String(expected.length) } })
        t.equal(head.body.length, 0)

        for (const known of [headers.etag, `W/${headers.etag}`, `"other", ${headers.etag}`, '*']) {
          const again = await ask(origin, path, 'GET', { 'if-none-match': known })
          t.match(again, { status: 304, headers: { etag: headers.etag } })
          t.equal(again.body.length, 0)
        }
        t.equal((await ask(origin, path, 'GET', { 'if-none-match': '"other"' })).status, 200)
        t.equal((await ask(origin, `${path}?v=1`)).status, 200, 'with a query')
        t.equal((await ask(origin, path, 'HEAD', { 'if-none-match': headers.etag })).status, 304)
      }
      t.equal(etags.size, 2)
    })

    t.test('compressed, each representation with a validator of its own', async (t) => {
      const { origin } = await start(t)
      for (const bundle of BUNDLES) {
        const path = `/__ds/${bundle}`
        const plain = await ask(origin, path)
        t.equal(plain.headers.vary, 'accept-encoding')
        t.equal(plain.headers['content-encoding'], undefined)
        const etags = new Set([plain.headers.etag])
        for (const [encoding, decode] of [['br', brotliDecompressSync], ['gzip', gunzipSync]] as const) {
          // the second is the cached one
          for (const { headers, body } of [await ask(origin, path, 'GET', { 'accept-encoding': encoding }), await ask(origin, path, 'GET', { 'accept-encoding': encoding })]) {
            t.match(headers, { 'content-encoding': encoding, vary: 'accept-encoding', 'content-length': String(body.length), 'content-type': /^text\/javascript/, 'cross-origin-resource-policy': 'cross-origin' })
            t.ok(decode(body).equals(plain.body))
            if (plain.body.length > 1000) t.ok(body.length < plain.body.length / 2, `${body.length} of ${plain.body.length}`)
            etags.add(headers.etag)
            const head = await ask(origin, path, 'HEAD', { 'accept-encoding': encoding })
            t.match(head.headers, { 'content-encoding': encoding, 'content-length': String(body.length), etag: headers.etag })
            t.equal((await ask(origin, path, 'GET', { 'accept-encoding': encoding, 'if-none-match': headers.etag })).status, 304)
            t.equal((await ask(origin, path, 'GET', { 'if-none-match': headers.etag })).status, 200, 'of another representation')
          }
        }
        t.equal(etags.size, 3)
      }
    })

    t.test('under the path of the server, whatever it is', async (t) => {
      for (const [path, expected] of [['/', '/datasole.iife.min.js'], ['/a/b', '/a/b/datasole.iife.min.js']] as const) {
        const { origin, url } = await start(t, { path })
        t.equal((await ask(origin, expected)).status, 200)
        await (await connect(url)).close()
      }
    })

    t.test('nothing else of the package is served', async (t) => {
      const { origin, server } = await start(t)
      if (entrance === 'standalone') server.on('request', (_req, res) => { res.writeHead(404).end() })
      for (const path of ['/__ds/../package.json', '/__ds/%2e%2e/package.json', '/__ds/datasole.iife.min.js/..', '/__ds/datasole.iife.min.js.map', '/__ds/', '//__ds/datasole.iife.min.js']) {
        t.equal((await ask(origin, path)).status, 404, path)
      }
      for (const method of ['POST', 'PUT', 'DELETE']) t.equal((await ask(origin, `/__ds/${BUNDLES[0]}`, method)).status, 404)
    })
  })
}

t.test('assets: the owner of a plain server serves the rest', async (t) => {
  const [, start] = entrances[1]!
  const { origin } = await start(t, { prepare: (_ds, server) => { server.on('request', (req, res) => { res.end(`theirs ${req.url}`) }) } })
  t.equal(String((await ask(origin, '/')).body), 'theirs /')
  t.equal(String((await ask(origin, '/__ds/other.js')).body), 'theirs /__ds/other.js')
  t.equal((await ask(origin, `/__ds/${BUNDLES[0]}`)).status, 200)
  t.notMatch(String((await ask(origin, '/__ds')).body), 'theirs')
  const root = await start(t, { path: '/', prepare: (_ds, server) => { server.on('request', (_req, res) => { res.end('home') }) } })
  t.equal(String((await ask(root.origin, '/')).body), 'home')
})

t.test('assets: the encoding that a client likes best, of those that we have', async (t) => {
  for (const [accepted, expected] of [
    [undefined, 'identity'], ['', 'identity'], ['gzip, deflate, br, zstd', 'br'], ['gzip, deflate', 'gzip'], ['deflate', 'identity'],
    ['br;q=0.5, gzip', 'gzip'], ['br;q=0, gzip;q=0', 'identity'], ['*', 'br'], ['br;q=0, *', 'gzip'], ['*;q=0', 'identity'],
    ['identity, gzip;q=0.5', 'identity'], ['identity;q=0.5, gzip;q=0.5', 'gzip'], ['GZIP ; Q=0.3', 'gzip'], ['x-gzip', 'gzip'],
    ['br;q=nonsense', 'identity'], [',;q=1,', 'identity']
  ] as const) t.equal(encodingFor(accepted), expected, String(accepted))
})
