import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { redisServer } from './helpers/redis-server.js'
import { runProgram } from './helpers/run-program.js'
import { snippetsOf, typeErrors, writeSnippets } from './helpers/snippets.js'

/** Pages whose `server.ts` and `client.ts` run, where the client prints what the page says. */
const PAGES = ['rpc', 'events', 'live-state', 'channels', 'crdts', 'sessions', 'rate-limits', 'authentication', 'executors', 'backends']
/** Pages whose snippets have the right types. */
const TYPED = ['hooks', 'yjs', 'errors', 'security', 'limits', 'stores', 'testing']

t.test('docs: every snippet in TypeScript names its file, so that a test can check it', async (t) => {
  for (const name of readdirSync('docs', { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.md') && !name.includes('api'))) {
    for (const [, first] of readFileSync(join('docs', name), 'utf8').matchAll(/```tsx?(?: \{.+\})?\n(.*)\n/g)) t.match(first, /^\/\/ [\w./-]+\.\w+$/, `${name}: ${first}`)
  }
})

for (const name of [...PAGES, ...TYPED]) {
  const page = readFileSync(`docs/${name}.md`, 'utf8')
  const snippets = snippetsOf(page)
  const folder = writeSnippets(t, `guides/${name}`, snippets)
  t.test(`${name}: the snippets have the right types`, async (t) => {
    t.ok(snippets.size >= 1)
    t.strictSame(typeErrors(folder, snippets.keys(), TYPED.includes(name)), [])
  })
  if (!PAGES.includes(name)) continue
  t.test(`${name}: the client prints what the page says`, async (t) => {
    const redis = name === 'backends' ? await redisServer(t) : undefined
    const server = runProgram(t, join(folder, 'server.js'), { PORT: '0', ...redis && { REDIS_URL: redis.url } })
    const url = await server.line(/http:\S+/)
    const client = runProgram(t, join(folder, 'client.js'), { URL: url.replace('[::1]', 'localhost') })
    const [, printed] = /```text\n([\s\S]+?)```/.exec(page)!
    t.equal(await client.output, printed)
  })
}
