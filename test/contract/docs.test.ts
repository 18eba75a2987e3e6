import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import ts from 'typescript'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'

// inside the repository the package finds itself by its own name
const folder = join('dist', 'contract-docs')
const page = readFileSync('docs/contract.md', 'utf8')
const snippets = new Map(Array.from(page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]+?)```/g), ([, name, code]) => [name!, code!]))

t.before(() => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  for (const [name, code] of snippets) {
    const text = `${code}\n${name === 'server.ts' ? 'export { fastify }\n' : ''}`
    writeFileSync(join(folder, name), text)
    writeFileSync(join(folder, name.replace(/ts$/, 'js')), ts.transpileModule(text, { compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext } }).outputText)
  }
})
t.teardown(() => { rmSync(folder, { recursive: true, force: true }) })

t.test('docs: the snippets of the page have the right types', async (t) => {
  t.same([...snippets.keys()], ['contract.ts', 'server.ts', 'client.ts', 'libraries.ts', 'reload.ts'])
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

t.test('docs: the snippets of the page run together', async (t) => {
  const load = async (name: string): Promise<Record<string, unknown>> => await import(pathToFileURL(resolve(folder, name)).href) as Record<string, unknown>
  await load('libraries.js')
  const { fastify } = await load('server.js') as { fastify: FastifyInstance }
  t.teardown(() => fastify.close())
  const url = await fastify.listen({ port: 0, host: '127.0.0.1' })
  const client = new DatasoleClient({ url, webSocket: WebSocket as never })
  t.teardown(() => client.disconnect())
  await client.connect()
  const { use } = await load('client.js') as { use: (client: DatasoleClient) => Promise<string> }
  t.equal(await use(client), 'at most 1000')
  t.equal(await client.rpc('add', { a: 1, b: 2 }), 3)
})

t.test('docs: no cell of the page is longer than 120 characters', async (t) => {
  for (const line of page.split('\n')) if (line.startsWith('|')) for (const cell of line.split('|')) t.ok(cell.length <= 120, cell)
})
