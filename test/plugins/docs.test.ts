import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { snippetsOf, typeErrors, writeSnippets } from '../helpers/snippets.js'

const snippets = snippetsOf(readFileSync('docs/plugins.md', 'utf8'))
const folder = writeSnippets(t, 'plugin-docs', new Map(Array.from(snippets, ([name, code]) => [name, code.includes('const fastify') ? `${code}\nexport { fastify }\n` : code])))

t.test('docs: the snippets have the right types, and are short', async (t) => {
  t.same([...snippets.keys()], ['game-server.ts', 'audit-log.ts', 'own-backend.ts'])
  for (const [name, code] of snippets) t.ok(code.trim().split('\n').length < 40, name)
  t.same(typeErrors(folder, snippets.keys()), [])
})

t.test('docs: they run', async (t) => {
  const load = async (name: string): Promise<Record<string, unknown>> => await import(pathToFileURL(resolve(folder, name)).href) as Record<string, unknown>
  for (const name of ['game-server.js', 'own-backend.js']) {
    const { fastify } = await load(name) as { fastify: FastifyInstance }
    t.teardown(() => fastify.close())
    await fastify.ready()
    await t.resolves(fastify.ds.primitives.state.setState('k', 1))
  }
  const { fastify } = await load('game-server.js') as { fastify: FastifyInstance }
  await t.rejects(fastify.ds.rpc.call('move', undefined), { message: 'players only' })
  t.equal(await fastify.ds.rpc.call('move', undefined, { auth: { authenticated: true, userId: 'ann' } }), 'moved')

  const { default: Fastify } = await import('fastify')
  const { default: datasole } = await import('../../index.js')
  const { default: auditLog } = await load('audit-log.js') as { default: (app: FastifyInstance) => Promise<void> }
  const lines: string[] = []
  const app = Fastify({ logger: { stream: { write: (line: string) => { lines.push(line) } } } })
  t.teardown(() => app.close())
  await app.register(datasole)
  await app.register(async (scope) => {
    await scope.register(auditLog)
    scope.ds.rpc.register('heard', () => 1)
  })
  app.ds.rpc.register('unheard', () => 1)
  await app.ready()
  await app.ds.rpc.call('heard', undefined)
  await app.ds.rpc.call('unheard', undefined)
  t.equal(lines.filter((line) => line.includes('"method":"heard"')).length, 1)
  t.notOk(lines.some((line) => line.includes('unheard')))
})
