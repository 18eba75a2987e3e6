import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import { DatasoleClient } from '../../lib/client/client.js'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'

const page = readFileSync('docs/contract.md', 'utf8')
const snippets = snippetsOf(page)
snippets.set('server.ts', `${snippets.get('server.ts')!}\nexport { fastify }\n`)
const folder = writeSnippets(t, 'contract-docs', snippets)

t.test('docs: the snippets of the page have the right types', async (t) => {
  t.same([...snippets.keys()], ['contract.ts', 'server.ts', 'client.ts', 'libraries.ts', 'reload.ts', 'plain-contract.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
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
