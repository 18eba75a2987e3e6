import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { redisServer } from './helpers/redis-server.js'
import { type Program, runProgram } from './helpers/run-program.js'
import { snippetsOf, typeErrors, writeSnippets } from './helpers/snippets.js'

const readme = readFileSync('README.md', 'utf8')
const snippets = snippetsOf(readme)
const folder = writeSnippets(t, 'readme', snippets)

/** Runs a snippet. */
const run = (t: Test, name: string, env: Record<string, string>): Program => runProgram(t, join(folder, name), env)

t.test('readme: it is short, and its snippets have the right types', async (t) => {
  t.ok(readme.split('\n').length <= 151)
  t.same([...snippets.keys()], ['server.ts', 'client.ts', 'contract.ts', 'plain-http.ts', 'many.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
})

const [, printed] = /```text\n([\s\S]+?)```/.exec(readme)!
// of plain http the README shows one method, and leaves the rest to the reader
for (const [server, lines] of [['server.js', printed!.trim().split('\n')], ['plain-http.js', ['1 + 2 = 3']]] as const) {
  t.test(`${server} serves the client of the README`, async (t) => {
    const running = run(t, server, { PORT: '0' })
    const address = await running.line(/port: (\d+)|:(\d+)/)
    const client = run(t, 'client.js', { URL: `http://127.0.0.1:${/\d+/.exec(address)![0]}` })
    for (const line of lines) await client.line(new RegExp(`^${line.replaceAll('+', '\\+')}$`, 'm'))
    t.equal(await running.stop(), 0, 'it ends in good order, with a client connected')
  })
}

t.test('many.js runs against Redis', async (t) => {
  const { url } = await redisServer(t)
  t.equal(await run(t, 'many.js', { REDIS_URL: url }).ended, 0)
})
