import { createServer } from 'node:http'
import { once } from 'node:events'
import { readFile, readdir, writeFile, mkdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { extname, join } from 'node:path'
import { promisify } from 'node:util'
import { nodeResolve } from '@rollup/plugin-node-resolve'
import * as esbuild from 'esbuild'
import { type Browser, chromium } from 'playwright-core'
import { rollup } from 'rollup'
import t, { type Test } from 'tap'
import * as vite from 'vite'
import webpack from 'webpack'
import type { DatasoleClient } from '../../lib/client/client.js'
import { entrances } from '../helpers/entrances.js'
import { consumer } from './consumer.js'

// in the page
declare const client: DatasoleClient
declare const problems: string[]

const { folder } = await consumer(t)

let browser: Browser
t.before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH,
    chromiumSandbox: false,
    args: ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
  })
})
t.teardown(() => browser.close())

/** Bundles `name.js` of the folder into `name/`. */
const bundlers: Record<string, (name: string) => Promise<unknown>> = {
  vite: async (name) => await vite.build({ root: folder, configFile: false, logLevel: 'error', build: { outDir: join(folder, name), rollupOptions: { input: join(folder, `${name}.js`) } } }),
  webpack: async (name) => {
    const stats = await promisify<webpack.Configuration, webpack.Stats | undefined>(webpack)({ mode: 'production', context: folder, entry: `./${name}.js`, target: ['web', 'es2022'], output: { path: join(folder, name), publicPath: 'auto' } })
    if (stats?.hasErrors() === true) throw new Error(stats.toString())
  },
  rollup: async (name) => {
    const bundle = await rollup({ input: join(folder, `${name}.js`), plugins: [nodeResolve({ browser: true })], onLog () {} })
    await bundle.write({ dir: join(folder, name), format: 'es' })
  },
  esbuild: async (name) => await esbuild.build({ absWorkingDir: folder, entryPoints: [`${name}.js`], bundle: true, minify: true, format: 'esm', splitting: true, outdir: name, logLevel: 'error' })
}

/** A sentence of each part of the client. */
const parts: Record<string, string> = {
  socket: 'bytes already wait for the network',
  channels: 'the server takes no changes of',
  CRDTs: 'operations already wait for the server'
}

for (const [bundler, bundle] of Object.entries(bundlers)) {
  t.test(`bundlers: ${bundler} leaves out the parts that the application does not import`, async (t) => {
    for (const [imported, expected] of [
      ['LiveClient', ['socket']],
      ['LiveClient, channel', ['socket', 'channels']],
      ['LiveClient, crdt', ['socket', 'CRDTs']],
      ['DatasoleClient', ['socket', 'channels', 'CRDTs']]
    ] as const) {
      const name = `${bundler}-${expected.join('-')}`
      await writeFile(join(folder, `${name}.js`), `import { ${imported} } from 'datasole/client'\nglobalThis.used = [${imported}]\n`)
      await bundle(name)
      const files = (await readdir(join(folder, name), { recursive: true })).filter((file) => /\.m?js$/.test(file))
      const texts = await Promise.all(files.map((file) => readFile(join(folder, name, file), 'utf8')))
      t.strictSame(Object.keys(parts).filter((part) => texts.some((text) => text.includes(parts[part]!))), expected, imported)
      t.equal(texts.filter((text) => text.includes(parts.socket!)).length, 1)
      t.notOk(texts.some((text) => text.includes(parts.socket!) && text.includes('is not an option of the client')), 'the fallback\'s socket is a file of its own')
    }
  })
}

const page = (worker: string): string => `${worker}
import { DatasoleClient } from 'datasole/client'
globalThis.problems = []
globalThis.client = new DatasoleClient({ url: SERVER, worker: () => makeWorker(), useWorker: true, onError: (error) => { problems.push(error.message) } })
`
const throughQuery = page("import DatasoleWorker from 'datasole/client/worker?worker'\nconst makeWorker = () => new DatasoleWorker()")
const throughUrl = page("import url from 'datasole/client/worker?worker&url'\nconst makeWorker = () => new Worker(url, { type: 'module' })")
const throughNewUrl = page("const makeWorker = () => new Worker(new URL('datasole/client/worker', import.meta.url))")

const startServer = entrances.find(([name]) => name === 'standalone')![1]

/** The page of an application gets its worker from its bundler, and calls a method through it. */
async function calls (t: Test, url: string): Promise<void> {
  const { page, messages } = await open(t, url)
  await page.waitForFunction('globalThis.client !== undefined', undefined, { timeout: 60_000 }).catch(() => { throw new Error(`the page made no client: ${messages.join('; ')}`) })
  t.equal(await page.evaluate(async () => {
    await client.connect()
    return await client.rpc('echo', 'hello')
  }), 'hello')
  t.equal(page.workers().length, 1)
  t.strictSame(await page.evaluate(() => problems), [])
}

async function open (t: Test, url: string) {
  const context = await browser.newContext()
  t.teardown(() => context.close())
  const page = await context.newPage()
  const messages: string[] = []
  page.on('pageerror', ({ message }) => { messages.push(message) })
  page.on('console', (message) => { if (message.type() === 'error') messages.push(message.text()) })
  await page.goto(url)
  return { page, messages }
}

/** Serves a folder of files. */
async function serve (t: Test, root: string): Promise<string> {
  const types: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript' }
  const server = createServer((request, response) => {
    const path = request.url === '/' ? '/index.html' : request.url!
    readFile(join(root, path)).then((body) => response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(body), () => response.writeHead(404).end())
  }).listen(0, '127.0.0.1')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

/** An application in a folder of its own. */
async function app (name: string, code: string): Promise<string> {
  const root = join(folder, name)
  await mkdir(root)
  await writeFile(join(root, 'index.html'), '<!doctype html><title>app</title><link rel="icon" href="data:,"><script type="module" src="./main.js"></script>')
  await writeFile(join(root, 'main.js'), code)
  return root
}

for (const [name, code] of [['worker', throughQuery], ['url', throughUrl]] as const) {
  t.test(`bundlers: Vite's dev server and build make the worker, imported with ?${name}`, async (t) => {
    const { origin } = await startServer(t, { allowedOrigins: () => true })
    const root = await app(`app-vite-${name}`, code)
    const config: vite.InlineConfig = { root, configFile: false, logLevel: 'error', define: { SERVER: JSON.stringify(origin) }, cacheDir: join(root, '.vite') }
    const dev = await vite.createServer({ ...config, server: { port: 0, host: '127.0.0.1', hmr: false, ws: false } })
    t.teardown(() => dev.close())
    await dev.listen()
    await calls(t, dev.resolvedUrls!.local[0]!)
    await vite.build(config)
    await calls(t, await serve(t, join(root, 'dist')))
  })
}

t.test('bundlers: webpack makes the worker of new URL', async (t) => {
  const { origin } = await startServer(t, { allowedOrigins: () => true })
  const root = await app('app-webpack', throughNewUrl)
  const stats = await promisify<webpack.Configuration, webpack.Stats | undefined>(webpack)({
    mode: 'production',
    context: root,
    entry: './main.js',
    target: ['web', 'es2022'],
    module: { rules: [{ test: /main\.js$/, type: 'javascript/esm' }] },
    output: { path: join(root, 'dist'), filename: 'main.js', publicPath: 'auto' },
    plugins: [new webpack.DefinePlugin({ SERVER: JSON.stringify(origin) })]
  })
  t.equal(stats?.hasErrors(), false, String(stats))
  await writeFile(join(root, 'dist', 'index.html'), await readFile(join(root, 'index.html')))
  await calls(t, await serve(t, join(root, 'dist')))
})
