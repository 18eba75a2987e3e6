import { execFile } from 'node:child_process'
import { readFile, readdir } from 'node:fs/promises'
import { readdirSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { publint } from 'publint'
import { importsOf } from '../layers/imports.js'
import { consumer } from './consumer.js'

const manifest = JSON.parse(await readFile('package.json', 'utf8'))
const sources = ['index.ts', ...(await Promise.all(['lib', 'plugins'].map(async (folder) =>
  (await readdir(folder, { recursive: true })).map((name) => `${folder}/${name.replaceAll('\\', '/')}`)))).flat()
].filter((path) => path.endsWith('.ts') && !path.startsWith('lib/inspector-page/')) // the page is shipped as a bundle

const { installed, tarball, packed } = await consumer(t)

t.test('the package holds what a user needs, and nothing else', async (t) => {
  const compiled = [...sources, 'test/backend/contract.ts', 'test/backend/deletions.ts', 'test/helpers/random.ts', 'test/helpers/until.ts'].map((path) => path.replace(/\.ts$/, '')).flatMap((path) => (path.startsWith('lib/cli/') ? ['dist'] : ['dist', 'dist/cjs']).flatMap((to) => [`${to}/${path}.js`, `${to}/${path}.d.ts`]))
  const bundles = ['dist/client/datasole.iife.min.js', 'dist/client/datasole-worker.iife.min.js', 'dist/inspector/index.html', 'dist/inspector/page.js', 'dist/inspector/style.css']
  const pages = readdirSync('docs', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md') && !/^(\.vitepress|public|reference\/api)/.test(name)).map((name) => `docs/${name}`)
  const filesOf = (folder: string): string[] => readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map(({ parentPath, name }) => `${parentPath}/${name}`)
  const shown = [...filesOf('docs/images'), ...filesOf('examples')]
  const texts = ['CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'README.md', 'SECURITY.md', ...pages, 'docs/grafana-dashboard.json', 'lib/protocol/PROTOCOL.md', 'dist/cjs/package.json', 'package.json']
  t.ok(sources.length >= 69)
  t.strictSame(packed.files.map(({ path }) => path).sort(), [...compiled, ...bundles, ...texts, ...shown].sort())
  t.ok(packed.size < 1024 * 1024, `${packed.size} bytes packed`)
  t.ok(packed.unpackedSize < 4.75 * 1024 * 1024, `${packed.unpackedSize} bytes unpacked`)
})

t.test('package: the links of its pages lead to files that it has', async (t) => {
  const files = new Set(packed.files.map(({ path }) => path))
  for (const page of [...files].filter((path) => path.endsWith('.md'))) {
    const text = await readFile(join(installed, page), 'utf8')
    const targets = Array.from(text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g), ([, target]) => target!).filter((target) => !target.includes('://'))
    t.strictSame(targets.filter((target) => !files.has(join(dirname(page), target))), [], page)
  }
})

t.test('package: installing it runs nothing', async (t) => {
  const lifecycle = ['preinstall', 'install', 'postinstall', 'prepublish', 'prepare', 'preprepare', 'postprepare']
  t.strictSame(Object.keys(manifest.scripts).filter((name) => lifecycle.includes(name)), [])
})

t.test('package: stack traces lead to code that can be read', async (t) => {
  // without source maps: what is compiled is the source without its types
  const { packageFile } = await import(pathToFileURL(join(installed, 'dist/lib/server/config/package-file.js')).href) as { packageFile: (path: string) => URL }
  const error = t.throws(() => packageFile('missing.js'), { code: 'PACKAGE_FILE_MISSING' }) as Error
  const [, line] = /at packageFile \(.*package-file\.js:(\d+):\d+\)/.exec(error.stack!) ?? []
  const text = await readFile(join(installed, 'dist/lib/server/config/package-file.js'), 'utf8')
  t.match(text.split('\n')[Number(line) - 1], /throw new DatasoleError\('PACKAGE_FILE_MISSING'/)
  t.notMatch(text, /sourceMappingURL/)
})

t.test('package: the oldest Node.js that it supports is one that its dependencies support', async (t) => {
  const { packages } = JSON.parse(await readFile('package-lock.json', 'utf8')) as { packages: Record<string, { dev?: boolean, engines?: { node?: string } }> }
  const needed = Object.entries(packages).filter(([path, { dev }]) => path !== '' && dev !== true)
  t.ok(needed.length >= 50, `${needed.length} packages`)
  t.equal(manifest.engines.node, '>=20.19')
  // otherwise npm warns of EBADENGINE
  const supports = (range: string): boolean => /^>= ?(20(\.(0|1?\d)(\.\d+)?)?|1?\d(\.[\dx]+)*)$/.test(range)
  t.strictSame(['>=20.19', '>= 10.x', '>=8.0.0', '>=20', '>=20.20', '>=22', '^22', '>=200'].filter(supports), ['>=20.19', '>= 10.x', '>=8.0.0', '>=20'])
  t.strictSame(needed.filter(([, { engines }]) => !supports(engines?.node ?? '>=0')).map(([path]) => path), [])
})

t.test('package: its dependencies are what it imports', async (t) => {
  const imports = await Promise.all(sources.map(async (path) => importsOf(path, await readFile(path, 'utf8'))))
  const packages = imports.flat()
    .filter(({ from, to }) => !to.endsWith('.ts') && !to.startsWith('node:') && !(['lib/executor/thread/worker-thread.ts', 'lib/cli/load-contract.ts'].includes(from) && to === '(computed)')) // that is the user's
    .map(({ to }) => to.split('/').slice(0, to.startsWith('@') ? 2 : 1).join('/'))
  // ws is what @fastify/websocket gives us: named so that its version is ours to raise; and light-my-request is
  // Fastify's, named so that npm takes the one for both whose own dependencies support Node.js 20
  t.strictSame(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }).sort(), [...new Set([...packages, 'light-my-request', 'ws'])].sort())
  t.strictSame(manifest.peerDependenciesMeta, { '@opentelemetry/api': { optional: true }, ioredis: { optional: true }, jiti: { optional: true }, pg: { optional: true }, piscina: { optional: true }, 'prom-client': { optional: true }, react: { optional: true }, svelte: { optional: true }, vue: { optional: true }, 'y-protocols': { optional: true }, yjs: { optional: true } })
})

t.test('package: publint and attw find nothing', async (t) => {
  const bytes = await readFile(tarball)
  const { messages } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, strict: true })
  t.strictSame(messages, [])
  const attw = resolve('node_modules/@arethetypeswrong/cli/dist/index.js')
  await t.resolves(promisify(execFile)(process.execPath, [attw, tarball, '--profile', 'strict']))
})

t.test('package: the bundles work without a module loader', async (t) => {
  const read = async (name: string): Promise<string> => await readFile(join(installed, 'dist/client', name), 'utf8')
  const globals = { TextDecoder, TextEncoder }
  const page = await read('datasole.iife.min.js')
  t.equal(runInNewContext(`${page}; typeof Datasole.DatasoleClient`, { ...globals }), 'function')
  const worker = await read('datasole-worker.iife.min.js')
  const messages: unknown[] = []
  runInNewContext(worker, { ...globals, MessageChannel: class { port1 = {}; port2 = {} }, postMessage: (message: unknown) => { messages.push(message) } })
  t.match(messages, [{ type: 'ready' }])
})

t.test('package: the client stays small', async (t) => {
  const sizes = JSON.parse(await readFile('dist/sizes.json', 'utf8')) as Record<string, number>
  const budgets = {
    // for script tags, with the socket for pages that can have no worker
    'datasole.iife.min.js': 25.75,
    'datasole-worker.iife.min.js': 7,
    'RPC, events, live state': 12,
    'with channels': 19,
    'with CRDTs': 16.5,
    'with Yjs': 17,
    everything: 23.25,
    'hooks of React': 26.25,
    'page of the inspector': 25
  }
  t.strictSame(Object.keys(sizes), Object.keys(budgets))
  for (const [name, budget] of Object.entries(budgets)) t.ok(sizes[name]! <= budget * 1024, `${name}: ${sizes[name]!} bytes, at most ${budget} KB`)
  const page = await readFile('docs/client.md', 'utf8')
  const told = Array.from(page.matchAll(/^\| [^|\n]+ \| ([\d.]+) KB \|$/gm), ([, figure]) => Number(figure))
  const names = ['RPC, events, live state', 'with channels', 'with CRDTs', 'everything', 'datasole-worker.iife.min.js', 'datasole.iife.min.js']
  t.equal(told.length, names.length)
  told.push(Number(/take ([\d.]+) KB gzip/.exec(await readFile('docs/react.md', 'utf8'))?.[1]))
  // zlib of another Node makes some bytes more or less of it
  for (const [i, name] of [...names, 'hooks of React'].entries()) t.ok(Math.abs(told[i]! - sizes[name]! / 1024) < 0.1, `the docs say ${told[i]!} KB for ${name}: ${sizes[name]!} bytes`)
})
