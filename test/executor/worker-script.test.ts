import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { DatasoleError, DatasoleServer } from '../../plugins/server.js'
import { capturedLogger } from '../helpers/entrances.js'

t.test('worker script: a script that does not load fails the start with its error', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'datasole-'))
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  const script = async (name: string, text: string): Promise<string> => { await writeFile(join(folder, name), text); return join(folder, name) }
  const cases: Array<[path: string, error: { code?: string, name?: string, message?: string | RegExp }]> = [
    [join(folder, 'missing.mjs'), { code: 'INVALID_OPTION', message: /executor\.workerScript: .*missing\.mjs does not exist/ }],
    [await script('imports.mjs', "import './missing.mjs'"), { code: 'ERR_MODULE_NOT_FOUND', message: /missing\.mjs/ }],
    [await script('syntax.mjs', 'export default ('), { name: 'SyntaxError' }],
    [await script('throws.mjs', "export default () => { throw Object.assign(new RangeError('no'), { code: 'MINE', fn () {} }) }"), { name: 'RangeError', message: 'no', code: 'MINE' }],
    [await script('rejects.mjs', "export default async () => { await null; throw 'text' }"), { code: 'WORKER_FAILED', message: /text/ }],
    [await script('none.mjs', 'export const a = 1'), { code: 'INVALID_OPTION', message: /executor\.workerScript: .*default export/ }],
    [await script('exits.mjs', 'export default () => { process.exit(1) }'), { message: /exited/ }],
    [await script('twice.mjs', "export default (ds) => { ds.rpc.register('a', () => 1); ds.rpc.register('a', () => 1) }"), { code: 'DUPLICATE_METHOD' }],
    [await script('option.mjs', "export default (ds) => { ds.rpc.register('a', { schema: { body: {} } }, () => 1) }"), { code: 'INVALID_OPTION', message: /"a".*schema\.body/ }],
    [await script('schema.mjs', "export default (ds) => { ds.rpc.register('a', { schema: { params: { type: 'nonsense' } } }, () => 1) }"), { code: 'INVALID_OPTION', message: /"a".*schema\.params cannot be compiled/ }],
    [await script('here.mjs', "export default (ds) => { ds.rpc.register('here', () => 1) }"), { code: 'DUPLICATE_METHOD' }]
  ]
  const ownCodes = ['INVALID_OPTION', 'WORKER_FAILED', 'DUPLICATE_METHOD']
  for (const [path, error] of cases) {
    const ds = new DatasoleServer({ executor: { model: 'thread-pool', poolSize: 1, workerScript: path, execArgv: [] }, logger: capturedLogger([]) })
    ds.rpc.register('here', () => 1)
    const thrown: unknown = await ds.init().catch((thrown: unknown) => thrown)
    t.match(thrown, error, path)
    t.equal(thrown instanceof DatasoleError, ownCodes.includes(error.code ?? ''), path)
    await ds.close()
  }
})

t.test('worker script: a script that TypeScript has made a CommonJS module loads', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'datasole-'))
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  const workerScript = join(folder, 'script.cjs')
  const text = "Object.defineProperty(exports, '__esModule', { value: true })\nexports.default = register\nfunction register (ds) { ds.rpc.register('add', ({ a, b }) => a + b) }\n"
  await writeFile(workerScript, text)
  const ds = new DatasoleServer({ executor: { model: 'thread-pool', poolSize: 1, workerScript, execArgv: [] }, logger: capturedLogger([]) })
  t.teardown(() => ds.close())
  await ds.init()
  t.equal(await ds.rpc.call('add', { a: 1, b: 2 }), 3)
})

t.test('worker script: a TypeScript script loads where the process loads TypeScript', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'datasole-'))
  t.teardown(async () => { await rm(folder, { recursive: true }) })
  await writeFile(join(folder, 'script.ts'), "interface Both { a: number, b: number }\nenum Sign { PLUS = 1 }\nexport default (ds: { rpc: any }): void => { ds.rpc.register('add', ({ a, b }: Both) => (a + b) * Sign.PLUS) }\n")
  const hooks = `import { readFile } from 'node:fs/promises'\nimport { transform } from '${import.meta.resolve('esbuild')}'\nexport async function load (url, context, next) {
    if (!url.endsWith('.ts')) return await next(url, context)
    const { code } = await transform(await readFile(new URL(url), 'utf8'), { loader: 'ts', format: 'esm' })
    return { format: 'module', source: code, shortCircuit: true }
  }`
  await writeFile(join(folder, 'hooks.mjs'), hooks)
  await writeFile(join(folder, 'register.mjs'), "import { register } from 'node:module'\nregister('./hooks.mjs', import.meta.url)\n")
  const script = `
    import { DatasoleServer } from '${new URL('../../plugins/server.js', import.meta.url).href}'
    const ds = new DatasoleServer({ executor: { model: 'thread-pool', poolSize: 1, workerScript: 'script.ts' } })
    await ds.init()
    console.log(await ds.rpc.call('add', { a: 1, b: 2 }))
    await ds.close()
  `
  await writeFile(join(folder, 'main.mjs'), script)
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', pathToFileURL(join(folder, 'register.mjs')).href, 'main.mjs'], { cwd: folder, timeout: 60_000 })
  t.equal(stdout, '3\n')
})
