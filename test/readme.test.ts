import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { redisServer } from './helpers/redis-server.js'
import { snippetsOf, typeErrors, writeSnippets } from './helpers/snippets.js'

const readme = readFileSync('README.md', 'utf8')
const snippets = snippetsOf(readme)
const folder = writeSnippets(t, 'readme', snippets)

/** Runs a snippet until it is ended; `line` resolves to the first line that it prints and that matches. */
function run (t: Test, name: string, env: Record<string, string>): { line: (pattern: RegExp) => Promise<string>, stop: () => Promise<unknown>, ended: Promise<unknown> } {
  const child: ChildProcess = spawn(process.execPath, [join(folder, name)], { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (text: string) => { output += text; child.emit('printed') })
  return {
    ended: once(child, 'exit').then(([code]) => code as unknown),
    stop: async () => { child.kill('SIGTERM'); return (await once(child, 'exit'))[0] },
    line: (pattern) => new Promise((resolve, reject) => {
      const look = (): void => { if (pattern.test(output)) resolve(pattern.exec(output)![0]) }
      child.on('printed', look)
      child.on('exit', (code) => { reject(new Error(`${name} ended with ${code}: ${output}`)) })
      look()
    })
  }
}

t.test('readme: it is short, and its snippets have the right types', async (t) => {
  t.ok(readme.split('\n').length <= 151)
  t.same([...snippets.keys()], ['server.ts', 'client.ts', 'contract.ts', 'plain-http.ts', 'many.ts'])
  t.same(typeErrors(folder, snippets.keys()), [])
})

for (const server of ['server.js', 'plain-http.js']) {
  t.test(`${server} serves the client of the README`, async (t) => {
    const running = run(t, server, { PORT: '0' })
    const printed = await running.line(/port: (\d+)|:(\d+)/)
    const client = run(t, 'client.js', { URL: `http://127.0.0.1:${/\d+/.exec(printed)![0]}` })
    await client.line(/1 \+ 2 = 3/)
    await client.line(/visitors: [1-9]/)
    await client.line(/chat: hello/)
    t.equal(await running.stop(), 0, 'it ends in good order, with a client connected')
  })
}

t.test('many.js runs against Redis', async (t) => {
  const { url } = await redisServer(t)
  t.equal(await run(t, 'many.js', { REDIS_URL: url }).ended, 0)
})
