import { existsSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { CloseCode, RpcCode } from '../../../lib/protocol/codes.js'
import type { DatasoleServer } from '../../../plugins/server.js'
import { reader } from './exposition.js'
import { table } from './table.js'
import { snippetsOf, typeErrors, writeSnippets } from '../../helpers/snippets.js'

const page = readFileSync('docs/metrics.md', 'utf8')
const snippets = snippetsOf(page)
const folder = writeSnippets(t, 'metrics-docs', new Map(Array.from(snippets, ([name, code]) => {
  const exported = ['fastify', 'ds', 'http', 'exporter'].filter((variable) => code.includes(`const ${variable} =`))
  return [name, `${code}\nexport { ${exported.join(', ')} }\n`]
})))

t.test('docs: the table has every metric, as the code has it', async (t) => {
  const section = page.slice(page.indexOf('| Metric |'), page.indexOf('\n## Labels')).trim()
  t.strictSame(section.split('\n'), table().split('\n'))
  for (const [, link] of page.matchAll(/\]\(([^)#]+)\)/g)) if (!link!.includes('://')) t.ok(existsSync(join('docs', link!)), link)
})

t.test('docs: the bounds of labels are those of the code', async (t) => {
  const bound = (label: string): string | undefined => page.split('\n').find((line) => line.startsWith(`| ${label} |`))?.split('|')[3]!.trim()
  t.equal(bound('`reason` of `rpc_errors_total`'), String(Object.keys(RpcCode).length))
  t.equal(bound('`reason` of `closes_total`'), String(Object.keys(CloseCode).length + 1))
  const source = readFileSync('lib/protocol/codes.ts', 'utf8')
  t.equal(bound('`reason` of `error_frames_total`'), String(source.match(/^ {2}\| '/gm)!.length))
  const refusing = ['lib/server/entrance.ts', 'lib/server/auth/admission.ts'].map((path) => readFileSync(path, 'utf8')).join('')
  const refusals = refusing.match(/(#refuse\(\d+, |status: \d+, error: )'[^']+'/g)!
  t.equal(bound('`reason` of `upgrades_refused_total`'), String(new Set(refusals.map((call) => call.split("'")[1])).size))
})

t.test('docs: the snippets have the right types', async (t) => {
  t.same([...snippets.keys()], ['metrics-server.ts', 'metrics-plain.ts', 'own-route.ts', 'tracing.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
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
