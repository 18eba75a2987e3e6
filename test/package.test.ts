import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { runInNewContext } from 'node:vm'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { publint } from 'publint'
import ts from 'typescript'
import { importsOf } from './layers/imports.js'

const run = promisify(execFile)
const manifest = JSON.parse(await readFile('package.json', 'utf8'))
const sources = ['index.ts', ...(await Promise.all(['lib', 'plugins'].map(async (folder) =>
  (await readdir(folder, { recursive: true })).map((name) => `${folder}/${name.replaceAll('\\', '/')}`)))).flat()
].filter((path) => path.endsWith('.ts'))

// packed once, and unpacked where a user of this package would have it; its dependencies are found further up
const consumer = await mkdtemp(resolve('node_modules', '.package-test-'))
t.teardown(() => rm(consumer, { recursive: true }))
const [packed] = JSON.parse((await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', consumer])).stdout)
const tarball = join(consumer, packed.filename)
const installed = join(consumer, 'node_modules', 'datasole')
await mkdir(installed, { recursive: true })
// a package of its own: inside of ours, the name datasole would mean this folder
await writeFile(join(consumer, 'package.json'), '{"name": "consumer", "type": "module"}')
await run('tar', ['-xzf', tarball, '-C', installed, '--strip-components=1'])

t.test('the package holds what a user needs, and nothing else', async (t) => {
  const compiled = [...sources, 'test/backend/contract.ts', 'test/backend/deletions.ts', 'test/helpers/random.ts'].map((path) => path.replace(/\.ts$/, '')).flatMap((path) => [`dist/${path}.js`, `dist/${path}.js.map`, `dist/${path}.d.ts`])
  const bundles = ['dist/client/datasole.iife.min.js', 'dist/client/datasole-worker.iife.min.js']
  const texts = ['CHANGELOG.md', 'LICENSE', 'README.md', 'docs/executors.md', 'docs/limits.md', 'docs/security.md', 'docs/shared-state.md', 'docs/stores.md', 'docs/testing.md', 'lib/protocol/PROTOCOL.md', 'package.json']
  t.ok(sources.length >= 69)
  t.strictSame(packed.files.map(({ path }: { path: string }) => path).sort(), [...compiled, ...bundles, ...texts].sort())
  const map = JSON.parse(await readFile(join(installed, 'dist/index.js.map'), 'utf8'))
  t.equal(map.sourcesContent[0], await readFile('index.ts', 'utf8'), 'debuggers show the source')
})

t.test('installing it runs nothing', async (t) => {
  const lifecycle = ['preinstall', 'install', 'postinstall', 'prepublish', 'prepare', 'preprepare', 'postprepare']
  t.strictSame(Object.keys(manifest.scripts).filter((name) => lifecycle.includes(name)), [])
})

t.test('its dependencies are what it imports', async (t) => {
  const imports = await Promise.all(sources.map(async (path) => importsOf(path, await readFile(path, 'utf8'))))
  const packages = imports.flat()
    .filter(({ from, to }) => !to.endsWith('.ts') && !to.startsWith('node:') && !(from === 'lib/executor/worker.ts' && to === '(computed)')) // that is the user's
    .map(({ to }) => to.split('/').slice(0, to.startsWith('@') ? 2 : 1).join('/'))
  // ws is what @fastify/websocket gives us: named so that its version is ours to raise
  t.strictSame(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }).sort(), [...new Set([...packages, 'ws'])].sort())
  t.strictSame(manifest.peerDependenciesMeta, { ioredis: { optional: true }, pg: { optional: true }, piscina: { optional: true }, 'y-protocols': { optional: true }, yjs: { optional: true } })
})

t.test('publint and attw find nothing', async (t) => {
  const bytes = await readFile(tarball)
  const { messages } = await publint({ pack: { tarball: new Uint8Array(bytes).buffer }, strict: true })
  t.strictSame(messages, [])
  const attw = resolve('node_modules/@arethetypeswrong/cli/dist/index.js')
  await t.resolves(run(process.execPath, [attw, tarball, '--profile', 'esm-only']))
})

t.test('import and require find it', async (t) => {
  const node = async (type: string, code: string): Promise<string> =>
    (await run(process.execPath, [`--input-type=${type}`, '--eval', code], { cwd: consumer })).stdout.trim()
  t.equal(await node('module', `
    const [root, server, client, { contract }] = await Promise.all(['datasole', 'datasole/server', 'datasole/client', 'datasole/backend-contract'].map((name) => import(name)))
    console.log(typeof root.default, typeof server.DatasoleServer, typeof client.DatasoleClient, typeof contract, import.meta.resolve('datasole/client/worker').split('/').at(-1))
  `), 'function function function function worker.js')
  t.equal(await node('commonjs', `
    console.log(typeof require('datasole').default, typeof require('datasole/server').attach, typeof require('datasole/client').DatasoleClient)
  `), 'function function function')
})

t.test('its types stand alone, and carry the contract', async (t) => {
  const file = join(consumer, 'app.mts')
  await writeFile(file, `
    import Fastify from 'fastify'
    import datasole, { type DatasoleServerOptions } from 'datasole'
    import { DatasoleServer } from 'datasole/server'
    import { DatasoleClient } from 'datasole/client'
    interface Contract {
      rpc: { add: { params: { a: number, b: number }, result: number } }
      events: { chat: string }
      state: { counter: { n: number } }
    }
    declare module 'datasole' { interface Register { contract: Contract } }
    const options: DatasoleServerOptions = { path: '/live' }
    const app = Fastify()
    await app.register(datasole, options)
    app.ds.rpc.register('add', ({ a, b }) => a + b)
    const server = new DatasoleServer<Contract>(options)
    server.rpc.register('add', ({ a, b }) => a + b)
    const client = new DatasoleClient<Contract>({ url: 'http://localhost' })
    export const sum: number = await client.rpc('add', { a: 1, b: 2 })
    // @ts-expect-error -- the contract has no such method
    app.ds.rpc.register('subtract', () => 0)
    // @ts-expect-error -- a result is a number
    server.rpc.register('add', () => 'one')
    // @ts-expect-error -- it takes two numbers
    await client.rpc('add', { a: 1 })
  `)
  const program = ts.createProgram([file], {
    noEmit: true, strict: true, target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.NodeNext, types: ['node'], typeRoots: [resolve('node_modules/@types')]
  })
  const ours = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(consumer))
  t.ok(ours.length >= 20, `it read ${ours.length} files`)
  const problems = ours.flatMap((source) => [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)])
  t.strictSame(problems.map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`), [])
  const foreign = ours.flatMap(({ fileName, text }) => importsOf(fileName, text)).map(({ to }) => to).filter((to) => !/^(\/|node:|datasole)/.test(to))
  t.strictSame([...new Set(foreign)], ['fastify'], 'of other packages, its types need those of fastify')
})

t.test('the bundles work without a module loader, and are small', async (t) => {
  const read = async (name: string): Promise<string> => await readFile(join(installed, 'dist/client', name), 'utf8')
  const globals = { TextDecoder, TextEncoder }
  const page = await read('datasole.iife.min.js')
  t.equal(runInNewContext(`${page}; typeof Datasole.DatasoleClient`, { ...globals }), 'function')
  const worker = await read('datasole-worker.iife.min.js')
  const messages: unknown[] = []
  runInNewContext(worker, { ...globals, postMessage: (message: unknown) => { messages.push(message) } })
  t.match(messages, [{ type: 'ready' }])
  t.ok(gzipSync(page).length < 25 * 1024, `${gzipSync(page).length} bytes`)
  t.ok(gzipSync(worker).length < 8 * 1024, `${gzipSync(worker).length} bytes`)
})
