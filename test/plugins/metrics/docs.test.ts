import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import ts from 'typescript'
import { CloseCode, RpcCode } from '../../../lib/protocol/codes.js'
import type { DatasoleServer } from '../../../plugins/server.js'
import { reader } from './exposition.js'
import { table } from './table.js'

// inside the repository the package finds itself by its own name
const folder = join('dist', 'metrics-docs')
const page = readFileSync('docs/metrics.md', 'utf8')
const snippets = new Map(Array.from(page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]+?)```/g), ([, name, code]) => [name!, code!]))

t.before(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, code] of snippets) {
    const exported = ['fastify', 'ds', 'http', 'exporter'].filter((variable) => code.includes(`const ${variable} =`))
    writeFileSync(join(folder, name), `${code}\nexport { ${exported.join(', ')} }\n`)
    const { outputText } = ts.transpileModule(readFileSync(join(folder, name), 'utf8'), { compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext } })
    writeFileSync(join(folder, name.replace(/ts$/, 'js')), outputText)
  }
})
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })

t.test('docs: the table has every metric, as the code has it', async (t) => {
  const section = page.slice(page.indexOf('| metric |'), page.indexOf('\n## Labels')).trim()
  t.strictSame(section.split('\n'), table().split('\n'))
  for (const [, link] of page.matchAll(/\]\(([^)#]+)\)/g)) if (!link!.includes('://')) t.ok(existsSync(join('docs', link!)), link)
})

t.test('docs: the bounds of labels are those of the code', async (t) => {
  const bound = (label: string): string | undefined => page.split('\n').find((line) => line.startsWith(`| ${label} |`))?.split('|')[3]!.trim()
  t.equal(bound('`reason` of `rpc_errors_total`'), String(Object.keys(RpcCode).length))
  t.equal(bound('`reason` of `closes_total`'), String(Object.keys(CloseCode).length + 1))
  const source = readFileSync('lib/protocol/codes.ts', 'utf8')
  t.equal(bound('`reason` of `error_frames_total`'), String(source.match(/^ {2}\| '/gm)!.length))
  const refusals = readFileSync('plugins/connections.ts', 'utf8').match(/refuse\(reply, \d+, '[^']+'/g)!
  t.equal(bound('`reason` of `upgrades_refused_total`'), String(new Set(refusals.map((call) => call.split("'")[1])).size))
})

t.test('docs: the snippets have the right types', async (t) => {
  t.same([...snippets.keys()], ['metrics-server.ts', 'metrics-plain.ts', 'own-route.ts', 'tracing.ts'])
  const program = ts.createProgram(Array.from(snippets.keys(), (name) => join(folder, name)), {
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node']
  })
  t.same(ts.getPreEmitDiagnostics(program).map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')), [])
})

t.test('docs: the snippets run', async (t) => {
  const load = async <T>(name: string): Promise<T> => await import(pathToFileURL(resolve(folder, name)).href) as T
  const { fastify } = await load<{ fastify: FastifyInstance }>('metrics-server.js')
  t.teardown(() => fastify.close())
  process.env.OPS_TOKEN = 'secret'
  t.equal((await fastify.inject('/ops/metrics')).statusCode, 401)
  t.equal(reader((await fastify.inject({ url: '/ops/metrics', headers: { authorization: 'Bearer secret' } })).body, 'shop_')('connections'), 0)
  t.match((await fastify.inject({ url: '/ops/health', headers: { authorization: 'Bearer secret' } })).json(), { status: 'ready', backends: [{ scope: 'root', ready: true, lagMs: Number }] })

  for (const name of ['metrics-plain.js', 'tracing.js']) {
    const { ds } = await load<{ ds: DatasoleServer }>(name)
    t.match(await ds.metrics.backends(), [{ scope: 'root', ready: true }], name)
    await ds.close()
  }

  const { http, exporter } = await load<{ http: Server, exporter: { detach (): void } }>('own-route.js')
  http.listen(0)
  await once(http, 'listening')
  const response = await fetch(`http://127.0.0.1:${(http.address() as AddressInfo).port}`, { headers: { connection: 'close' } })
  t.equal(reader(await response.text(), 'shop_')('commits_total'), 0)
  exporter.detach()
  http.close()
})
